package cli

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// openTerminal is a terminal of the kernel's: what is written to the keyboard is
// read from the screen's side, and the other way round.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	raw, err := keyboard.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var unlock, number int32
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) {
		if _, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); errno == 0 {
			_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPTN, uintptr(unsafe.Pointer(&number)))
		}
	}); err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return keyboard, terminal
}

// Changes of budgets ask on a terminal, as whom and about what, and only a yes
// makes them.
func TestBudgetAsksOnTerminal(t *testing.T) {
	for name, tc := range map[string]struct {
		line     string
		question string
	}{
		"set":   {"budget set team:payments --limit 7.50", "Set budget team:payments as bob? [y/N] "},
		"rm":    {"budget rm team:payments", "Remove budget team:payments as bob? [y/N] "},
		"topup": {"budget topup team:payments 1.25 --reason late", "Raise budget team:payments by $1.25 as bob? [y/N] "},
	} {
		for answer, code := range map[string]int{"y\n": ExitOK, "Yes\n": ExitOK, "n\n": ExitDenied, "\n": ExitDenied, "\x04": ExitDenied} {
			t.Run(name+" "+strings.TrimSpace(answer), func(t *testing.T) {
				b := someBooks()
				f := b.serves(t, &fakeTemporal{})
				t.Setenv("WFLO_USER", "bob")
				t.Setenv("WFLO_API", f.api)
				said, got := typed(t, f, tc.question, answer, strings.Fields(tc.line)...)
				if got != code {
					t.Errorf("exit code %d, want %d:\n%s", got, code, said)
				}
				if refused := strings.Contains(said, "wflo: nothing was changed"); refused != (code != 0) {
					t.Errorf("says:\n%s", said)
				}
				_, there := b.spends["team:payments"]
				if changed := len(b.set)+len(b.topUps) > 0 || !there; changed != (code == 0) {
					t.Errorf("changed %v: set %+v, raised %+v", changed, b.set, b.topUps)
				}
			})
		}
	}
}

// typed runs a command on a terminal, types the answer once it has asked, and
// gives what the screen shows.
func typed(t *testing.T, f *fakeTemporal, question, answer string, line ...string) (said string, code int) {
	t.Helper()
	keyboard, terminal := openTerminal(t)
	var screen clitest.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			_, _ = screen.Write(buf[:n])
			if err != nil {
				return // the command has ended, and the terminal with it
			}
		}
	}()
	ended := make(chan int, 1)
	go func() {
		defer func() { _ = terminal.Close() }()
		ended <- Main(t.Context(), Deps{Stdin: terminal, Stdout: terminal, Stderr: terminal, Dial: f.dial}, line)
	}()
	clitest.Await(t, question, func() bool {
		select {
		case code := <-ended:
			t.Fatalf("ends with %d before it asks:\n%s", code, screen.String())
		default:
		}
		return strings.Contains(screen.String(), question)
	})
	if _, err := keyboard.WriteString(answer); err != nil {
		t.Fatal(err)
	}
	code = <-ended
	<-read
	return screen.String(), code
}

// A question needs a terminal on both sides.
func TestNoQuestionIntoAFile(t *testing.T) {
	_, terminal := openTerminal(t)
	var errOut clitest.Buffer
	code := Main(t.Context(), Deps{Stdin: terminal, Stdout: &errOut, Stderr: &errOut}, []string{"budget", "rm", "team:payments"})
	if code != ExitUsage || !strings.Contains(errOut.String(), "add --yes") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
}
