package sandboxtest

import (
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

func soon(l *sandbox.Limits) { l.Timeout = time.Second }

func cpu(l *sandbox.Limits) { l.CPUTime = 500 * time.Millisecond }

// endAttacks try not to end, or to end otherwise than they say.
var endAttacks = []attack{
	{name: "sleeps", spec: limited(sandbox.Spec{Argv: []string{"sleep", "infinity"}}, soon), outcome: sandbox.Timeout, hit: "timeout"},
	{name: "spins by the wall clock", spec: limited(bash("while :; do :; done"), soon), outcome: sandbox.Timeout, hit: "timeout", virtual: []sandbox.Outcome{sandbox.CPUTimeout}},
	{name: "spins in all threads", spec: limited(python("import threading\ndef f():\n  while True: pass\nfor i in range(8): threading.Thread(target=f).start()"), soon), outcome: sandbox.Timeout, virtual: []sandbox.Outcome{sandbox.CPUTimeout}},
	{name: "ignores all signals", spec: limited(python(`
import signal, time
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: time.sleep(60)`), soon), outcome: sandbox.Timeout},
	{name: "stops itself", spec: limited(bash("kill -STOP $$"), soon), outcome: sandbox.Timeout},
	{name: "stops everything", spec: limited(bash("sleep 60 & kill -STOP -1; kill -STOP $$"), soon), outcome: sandbox.Timeout},
	{name: "spins", spec: limited(bash("while :; do :; done"), cpu), outcome: sandbox.CPUTimeout, hit: "cpu_time"},
	{name: "spins in four children", spec: limited(bash("for i in 1 2 3 4; do (while :; do :; done) & done; wait"), cpu), outcome: sandbox.CPUTimeout, hit: "cpu_time"},
	{
		// Who adds up the processes that there are misses those that were.
		name: "spins in short children",
		spec: limited(bash("while :; do (i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done); done"), cpu), outcome: sandbox.CPUTimeout, hit: "cpu_time",
	},
	{name: "spins in a daemon", spec: limited(bash("setsid bash -c 'while :; do :; done' </dev/null >/dev/null 2>&1 & sleep 600"), cpu), outcome: sandbox.CPUTimeout, hit: "cpu_time"},
	{name: "asks for more CPU time", spec: limited(probe(`
import resource
try: resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except (OSError, ValueError): pass
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True: pass
`), cpu), outcome: sandbox.CPUTimeout},
	{name: "exit 137 is no kill", spec: bash("exit 137"), outcome: sandbox.Nonzero, code: 137},
	{name: "exit 159 is no filter", spec: bash("exit 159"), outcome: sandbox.Nonzero, code: 159},
	{name: "kills itself", spec: bash("kill -9 $$"), outcome: sandbox.Signalled, signal: 9},
	{name: "kills its group", spec: bash("kill -9 0"), outcome: sandbox.Signalled, signal: 9},
	{name: "kills all but itself", spec: bash("sleep 60 & kill -9 -1; echo held")},
	{name: "aborts", spec: python("import os; os.abort()"), outcome: sandbox.Signalled, signal: 6},
	{name: "breaks its memory", spec: python("import ctypes; ctypes.string_at(1)"), outcome: sandbox.Signalled, signal: 11},
	{name: "a real-time signal", spec: bash("kill -64 $$"), outcome: sandbox.Signalled, signal: 64},
	{name: "leaves a child that floods", spec: limited(bash("yes & echo started; exit 0"), nil), stdout: "started"},
	{name: "leaves a child that spins", spec: limited(bash("while :; do :; done & echo held"), nil)},
	{name: "leaves a daemon", spec: bash("setsid nohup sleep 600 >/dev/null 2>&1 </dev/null & echo held")},
	{name: "leaves a daemon that keeps its output", spec: bash("setsid sleep 600 & echo held")},
	{name: "leaves a daemon that ignores signals", spec: probe(`
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for s in range(1, 65):
            try: signal.signal(s, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: time.sleep(60)
    os._exit(0)
os.wait()
`)},
	{name: "leaves stopped children", spec: bash("sleep 600 & kill -STOP $!; echo held")},
	{name: "leaves children that fork for ever", spec: limited(probe(`
if os.fork() == 0:
    os.setsid()
    while True:
        try:
            if os.fork() != 0: os._exit(0)
        except OSError: pass
time.sleep(0.2)
`), nil)},
	{name: "adopts its orphans", spec: probe(`
libc.prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid(); time.sleep(600)
    os._exit(0)
os.wait()
`)},
	{name: "replaces itself", spec: bash("exec -a /sbin/init bash -c 'echo held'")},
	{name: "ends in a thread that is not the first", spec: python(`
import ctypes, os, threading, time
def later(): time.sleep(0.2); print("held", flush=True); os._exit(0)
threading.Thread(target=later).start()
ctypes.CDLL(None).syscall(60, 0)`)},
	{name: "dumps core", spec: bash("ulimit -c unlimited 2>/dev/null; bash -c 'kill -SEGV $$'; [ -z \"$(ls)\" ] && echo held")},
}
