package sandboxtest

import (
	"context"
	"errors"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestFakeFiles(t *testing.T) {
	TestFiles(t, func(*testing.T) sandbox.Runner { return new(Fake) })
}

func TestFakeRun(t *testing.T) {
	broken := errors.New("broken")
	f := &Fake{}
	f.Do = func(ctx context.Context, spec sandbox.Spec) (sandbox.Result, error) {
		switch spec.Argv[0] {
		case "cat":
			data, err := f.ReadFile(ctx, spec.Box, spec.Argv[1], 100)
			return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: string(data)}, err
		case "break":
			return sandbox.Result{}, broken
		}
		<-ctx.Done()
		return sandbox.Result{Outcome: sandbox.Succeeded}, nil
	}
	var seen string
	spec := sandbox.Spec{Box: "b", Argv: []string{"cat", "f"}, Files: []wflo.File{{Name: "f", Data: []byte("hi")}}}
	res, err := f.Run(t.Context(), spec, func(_ sandbox.Stream, p []byte) { seen += string(p) })
	if err != nil || res.Stdout != "hi" || seen != "hi" {
		t.Errorf("Run = %+v, %v, watched %q", res, err, seen)
	}
	if _, err := f.Run(t.Context(), sandbox.Spec{Argv: []string{"break"}}, nil); !errors.Is(err, broken) {
		t.Errorf("Run = %v, want the error of Do", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if res, err := f.Run(ctx, sandbox.Spec{Argv: []string{"wait"}}, nil); err != nil || res.Outcome != sandbox.Cancelled {
		t.Errorf("Run = %+v, %v, want Cancelled", res, err)
	}
	if _, err := f.Run(t.Context(), sandbox.Spec{}, nil); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("Run = %v, want CodeInvalid", err)
	}
	if specs := f.Specs(); len(specs) != 3 || specs[0].Limits.Memory == 0 {
		t.Errorf("Specs = %+v, want three with defaults", specs)
	}
}

func TestFakeClose(t *testing.T) {
	f, entered := &Fake{}, make(chan struct{})
	f.Do = func(ctx context.Context, _ sandbox.Spec) (sandbox.Result, error) {
		close(entered)
		<-ctx.Done()
		return sandbox.Result{}, ctx.Err()
	}
	done := make(chan sandbox.Outcome)
	go func() {
		res, err := f.Run(context.Background(), sandbox.Spec{Box: "b", Argv: []string{"x"}}, nil)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		done <- res.Outcome
	}()
	<-entered
	if err := f.Close(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != sandbox.Cancelled {
		t.Errorf("outcome %s, want cancelled", got)
	}
}

func TestFakeArchiver(t *testing.T) {
	TestArchiver(t, func(*testing.T) ArchivingRunner { return new(Fake) }, ArchiverOptions{})
}
