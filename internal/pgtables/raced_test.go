//go:build race

package pgtables

const raced = true
