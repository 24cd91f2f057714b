package main

// call32 makes a 32-bit system call with arguments of zero.
func call32(nr uint32) uint32
