package faultpoint

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
)

// dies makes the test binary a process that an armed point ends.
const dies = "FAULTPOINT_DIES"

func TestMain(m *testing.M) {
	if os.Getenv(dies) != "" {
		Arm(At("here", 2, Exit))
		for range 3 {
			_ = Hit("here")
		}
		os.Exit(3) // it was to end before
	}
	os.Exit(m.Run())
}

func TestOffCostsNothing(t *testing.T) {
	if Armed() || Hit("anything") != nil {
		t.Error("a fault is armed that nobody armed")
	}
	if n := testing.AllocsPerRun(100, func() { _ = Hit("anything") }); n != 0 {
		t.Errorf("a point allocates %v times while it is off", n)
	}
}

func TestAtHappensOnce(t *testing.T) {
	defer Arm(At("store:after", 2, Fail))()
	var failed []string
	for i := range 4 {
		for _, point := range []string{"store:before", "store:after"} {
			err := Hit(point)
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrInjected) {
				t.Errorf("%v is no injected fault", err)
			}
			failed = append(failed, point+" "+strconv.Itoa(i))
		}
	}
	if want := []string{"store:after 1"}; !slices.Equal(failed, want) {
		t.Errorf("failed at %v, want %v", failed, want)
	}
}

func TestLogCounts(t *testing.T) {
	var seen []string
	disarm := Arm(Log(func(point string, n int) { seen = append(seen, point+strconv.Itoa(n)) }))
	for _, point := range []string{"a", "b", "a"} {
		if err := Hit(point); err != nil {
			t.Error(err)
		}
	}
	disarm()
	if err := Hit("a"); err != nil {
		t.Error(err)
	}
	if want := []string{"a1", "b1", "a2"}; !slices.Equal(seen, want) {
		t.Errorf("saw %v, want %v", seen, want)
	}
}

func TestExitEndsTheProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), dies+"=yes")
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != Killed {
		t.Errorf("it ended with %v, want exit code %d", err, Killed)
	}
}

func BenchmarkOff(b *testing.B) {
	for b.Loop() {
		if Hit("anything") != nil {
			b.Fatal("it is armed")
		}
	}
}
