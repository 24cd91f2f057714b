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
	keyboard, screen, ended, read := onTerminal(t, f, line...)
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

// onTerminal runs a command on a terminal: what is typed goes to the keyboard. ended gets
// its exit code, and read is closed when the screen has all that it wrote.
func onTerminal(t *testing.T, f *fakeTemporal, line ...string) (keyboard *os.File, screen *clitest.Buffer, ended chan int, read chan struct{}) {
	t.Helper()
	keyboard, terminal := openTerminal(t)
	screen, ended, read = new(clitest.Buffer), make(chan int, 1), make(chan struct{})
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
	go func() {
		defer func() { _ = terminal.Close() }()
		ended <- Main(t.Context(), Deps{Stdin: terminal, Stdout: terminal, Stderr: terminal, Dial: f.dial}, line)
	}()
	return keyboard, screen, ended, read
}

// Colours are for terminals, unless somebody says otherwise; what is typed wins over the
// environment, and NO_COLOR over what else the environment says.
func TestColours(t *testing.T) {
	for _, tc := range []struct {
		flags, env     string
		pipe, terminal bool
	}{
		{"", "", false, true},
		{"--color auto", "", false, true},
		{"--color always", "", true, true},
		{"--color always", "NO_COLOR=1 TERM=dumb CLICOLOR=0", true, true},
		{"--color always -o json", "", false, false},
		{"--color never", "CLICOLOR_FORCE=1", false, false},
		{"--no-color", "CLICOLOR_FORCE=1", false, false},
		{"--no-color --color never", "", false, false},
		{"", "CLICOLOR_FORCE=1", true, true},
		{"", "CLICOLOR_FORCE=1 CLICOLOR=0", true, true},
		{"", "CLICOLOR_FORCE=0", false, true},
		{"", "CLICOLOR=0", false, false},
		{"", "CLICOLOR_FORCE=1 NO_COLOR=1", false, false},
		{"", "NO_COLOR=1", false, false},
		{"", "TERM=dumb", false, false},
		{"--color auto", "NO_COLOR=1", false, false},
	} {
		t.Run(tc.flags+" "+tc.env, func(t *testing.T) {
			for _, name := range []string{"NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"} {
				t.Setenv(name, "")
			}
			t.Setenv("TERM", "xterm")
			for _, setting := range strings.Fields(tc.env) {
				name, value, _ := strings.Cut(setting, "=")
				t.Setenv(name, value)
			}
			f := refundStory().serves(t)
			line := append([]string{"trace", "refund-1"}, strings.Fields(tc.flags)...)
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			t.Setenv("WFLO_API", f.api)
			var piped, errOut clitest.Buffer
			code := Main(t.Context(), Deps{Stdin: strings.NewReader(""), Stdout: &piped, Stderr: &errOut, Dial: f.dial}, line)
			if got := strings.Contains(piped.String(), "\x1b["); code != 0 || got != tc.pipe || !strings.Contains(piped.String(), "refund-1") {
				t.Errorf("in a pipe %v, want %v, exit code %d:\n%q", got, tc.pipe, code, piped.String())
			}
			_, screen, ended, read := onTerminal(t, f, line...)
			if code := <-ended; code != 0 {
				t.Errorf("exit code %d", code)
			}
			<-read
			if got := strings.Contains(screen.String(), "\x1b["); got != tc.terminal || !strings.Contains(screen.String(), "refund-1") {
				t.Errorf("on a terminal %v, want %v:\n%q", got, tc.terminal, screen.String())
			}
		})
	}
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
