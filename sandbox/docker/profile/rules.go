package profile

// The numbers of Linux that the rules below need. They are the same on x86-64
// and on 64-bit ARM, and not in package syscall on other systems.
const (
	afUnix, afInet, afInet6, afNetlink = 1, 2, 10, 16
	sockStream, sockDgram, sockRaw     = 1, 2, 3
	sockSeqpacket, sockType            = 5, 0xf // the type without SOCK_CLOEXEC and SOCK_NONBLOCK
	tcp, udp, mptcp                    = 6, 17, 262
	fileType, regular, fifo, socket    = 0xf000, 0x8000, 0x1000, 0xc000

	// newNamespaces is every CLONE_NEW* flag that clone(2) takes.
	newNamespaces = 0x7e020000
	// word is a mask: the kernel takes the argument as 32 bits and drops the
	// rest, so a comparison of 64 bits would compare what it never sees.
	word = 0xffffffff

	eperm, enosys, eprotonosupport = 1, 38, 93
)

// group is a rule with the reason for it: system calls that are allowed, or
// answered with an error number other than the default's EPERM.
type group struct {
	reason string
	errno  uint     // zero allows
	args   [][]test // any of these must hold; nil is no condition
	names  []string
}

// test is a condition on one argument: its bits under mask are value.
type test struct {
	index       uint
	mask, value uint64
}

// is is the condition that an argument has a value, among the 32 bits that the
// kernel looks at.
func is(index uint, value uint64) test { return test{index, word, value} }

// groups is the whole filter. What no group names gets EPERM. A name that a
// machine's kernel or library does not know is left out there; it costs nothing.
var groups = []group{
	{
		reason: "files: reading, writing, names, attributes, watching; what may be touched is a matter of mounts and owners",
		names: words(`access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
			fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock
			fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat
			inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listxattr listxattrat
			llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv preadv2
			pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename renameat
			renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx symlink symlinkat sync sync_file_range
			syncfs tee truncate umask unlink unlinkat utime utimensat utimes write writev`),
	},
	{
		reason: "regular files, FIFOs and sockets; a device node is never needed, and dangerous where a mount lacks nodev",
		args:   nodes(1), names: words(`mknod`),
	},
	{
		reason: "the same for mknodat, which mkfifo uses",
		args:   nodes(2), names: words(`mknodat`),
	},
	{
		reason: "memory of the process itself; memfd_create too, since the workspace can be executed from anyway",
		names: words(`brk madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap
			mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages`),
	},
	{
		reason: "processes: starting, waiting, ending, signals, and what a process may ask about itself",
		names: words(`alarm arch_prctl execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority
			getrlimit getrusage getsid gettid kill pause pidfd_open pidfd_send_signal prctl restart_syscall
			rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
			rt_tgsigqueueinfo set_robust_list get_robust_list set_tid_address setpgid setpriority setrlimit setsid
			sigaltstack signalfd signalfd4 tgkill times tkill uname sysinfo vfork wait4 waitid ioprio_get ioprio_set
			getcpu sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
			sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
			sched_yield`),
	},
	{
		reason: "limits of the process itself: PID 1 has the program's user, so a program could limit it to death",
		args:   [][]test{{is(0, 0)}}, names: words(`prlimit64`),
	},
	{
		reason: "new processes and threads, in the namespaces that there are: a user namespace gives capabilities, and with them most holes of the last ten years",
		args:   [][]test{{{0, newNamespaces, 0}}}, names: words(`clone`),
	},
	{
		reason: "its flags are in memory, where a filter cannot see them; ENOSYS makes C libraries fall back to clone",
		errno:  enosys, names: words(`clone3`),
	},
	{
		reason: "identity: without capabilities the kernel admits only the ids that a process has, which is what programs that drop privileges set; the engine itself sets them under the filter where no-new-privileges is off",
		names: words(`capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid
			setgroups setregid setresgid setresuid setreuid setuid`),
	},
	{
		reason: "further restrictions, which programs put on themselves and cannot take back",
		names:  words(`landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp`),
	},
	{
		reason: "clocks and timers, without setting the machine's time",
		names: words(`clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time
			timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
			timerfd_settime`),
	},
	{
		reason: "waiting for events and for each other",
		names: words(`epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
			epoll_wait_old eventfd eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake pipe pipe2 poll ppoll
			pselect6 select`),
	},
	{
		reason: "the older asynchronous input and output: its contexts are counted host-wide (fs.aio-max-nr), so one sandbox could take them all",
		errno:  enosys, names: words(`io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit`),
	},
	{
		reason: "shared memory, semaphores and queues, in the sandbox's own IPC namespace",
		names: words(`mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
			semctl semget semop semtimedop shmat shmctl shmdt shmget`),
	},
	{
		reason: "random numbers",
		names:  words(`getrandom`),
	},
	{
		reason: "the use of sockets, which socket and socketpair below admit",
		names: words(`accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg
			sendmmsg sendmsg sendto setsockopt shutdown`),
	},
	{
		reason: "Unix sockets, TCP and UDP: other families and protocols (ALG, VSOCK, PACKET, XDP, SCTP, DCCP, raw ones) are where the kernel's holes are, and some are not confined by network namespaces",
		args: [][]test{
			{is(0, afUnix), {1, sockType, sockStream}},
			{is(0, afUnix), {1, sockType, sockDgram}},
			{is(0, afUnix), {1, sockType, sockSeqpacket}},
			{is(0, afInet), {1, sockType, sockStream}, is(2, 0)},
			{is(0, afInet), {1, sockType, sockStream}, is(2, tcp)},
			{is(0, afInet), {1, sockType, sockDgram}, is(2, 0)},
			{is(0, afInet), {1, sockType, sockDgram}, is(2, udp)},
			{is(0, afInet6), {1, sockType, sockStream}, is(2, 0)},
			{is(0, afInet6), {1, sockType, sockStream}, is(2, tcp)},
			{is(0, afInet6), {1, sockType, sockDgram}, is(2, 0)},
			{is(0, afInet6), {1, sockType, sockDgram}, is(2, udp)},
			// Listing interfaces and addresses: getaddrinfo, getifaddrs,
			// os.networkInterfaces of Node. A change needs CAP_NET_ADMIN.
			{is(0, afNetlink), {1, sockType, sockRaw}, is(2, 0)},
			{is(0, afNetlink), {1, sockType, sockDgram}, is(2, 0)},
		},
		names: words(`socket`),
	},
	{
		reason: "Go asks for multipath TCP when it listens and takes this answer as a kernel without it",
		errno:  eprotonosupport, args: [][]test{{is(2, mptcp)}}, names: words(`socket`),
	},
	{
		reason: "pairs of Unix sockets",
		args:   [][]test{{is(0, afUnix)}}, names: words(`socketpair`),
	},
	{
		reason: "terminals, pipes, interface names and cloning of files; not TIOCSTI and TIOCLINUX, which type into a terminal, nor TIOCSETD, which loads line disciplines, nor anything of a device",
		args:   requests, names: words(`ioctl`),
	},
	{
		reason: "asking for the personality (0xffffffff) and setting the usual one; others turn off the randomisation of addresses",
		args:   [][]test{{is(0, 0)}, {is(0, word)}}, names: words(`personality`),
	},
	{
		reason: "programs ask for these and have another way if the kernel is too old for them: io_uring, whose bugs have been many and which no filter sees into; memory of NUMA nodes; secret memory; pages moved into pipes",
		errno:  enosys,
		names: words(`cachestat get_mempolicy io_uring_enter io_uring_register io_uring_setup listmount mbind
			memfd_secret migrate_pages move_pages set_mempolicy set_mempolicy_home_node statmount vmsplice`),
	},
}

// nodes admits the kinds of files that are not devices; zero means regular.
func nodes(mode uint) [][]test {
	return [][]test{{{mode, fileType, 0}}, {{mode, fileType, regular}}, {{mode, fileType, fifo}}, {{mode, fileType, socket}}}
}

// requests are the second arguments of ioctl that are allowed. The numbers are
// those of Linux's headers for x86-64 and 64-bit ARM alike.
var requests = oneOf(1,
	0x5401, 0x5402, 0x5403, 0x5404, // TCGETS, TCSETS, TCSETSW, TCSETSF
	0x5405, 0x5406, 0x5407, 0x5408, // TCGETA, TCSETA, TCSETAW, TCSETAF
	0x5409, 0x540a, 0x540b, // TCSBRK, TCXONC, TCFLSH
	0x540c, 0x540d, 0x540e, // TIOCEXCL, TIOCNXCL, TIOCSCTTY
	0x540f, 0x5410, 0x5411, // TIOCGPGRP, TIOCSPGRP, TIOCOUTQ
	0x5413, 0x5414, // TIOCGWINSZ, TIOCSWINSZ
	0x541b, 0x5420, 0x5421, // FIONREAD, TIOCPKT, FIONBIO
	0x5422, 0x5424, 0x5425, 0x5429, // TIOCNOTTY, TIOCGETD, TCSBRKP, TIOCGSID
	0x802c542a, 0x402c542b, 0x402c542c, 0x402c542d, // TCGETS2, TCSETS2, TCSETSW2, TCSETSF2
	0x80045430, 0x40045431, 0x5441, // TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER
	0x5450, 0x5451, 0x5452, // FIONCLEX, FIOCLEX, FIOASYNC
	0x5460,                 // FIOQSIZE
	0x8905, 0x8910, 0x8912, // SIOCATMARK, SIOCGIFNAME, SIOCGIFCONF
	0x8913, 0x8915, 0x8917, // SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFDSTADDR
	0x8919, 0x891b, 0x8921, // SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMTU
	0x8927, 0x8933, 0x8942, // SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN
	0x40049409, 0x4020940d, // FICLONE, FICLONERANGE
	0x80086601, // FS_IOC_GETFLAGS
)

func oneOf(index uint, values ...uint64) [][]test {
	tests := make([][]test, len(values))
	for i, v := range values {
		tests[i] = []test{is(index, v)}
	}
	return tests
}
