package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// A login keeps a key that was tried, for one address, where nobody else reads it.
func TestLogin(t *testing.T) {
	o := newOffice(t)
	ann := o.key("ann", []string{"ops"}, wflo.RoleApprover)
	o.does("", "whoami").want(t, ExitAuth, nil, []string{"wants to know who you are", "hint: log in with: wflo login --api " + o.url})
	o.reads("wflo_nonsense\n", "", "login").want(t, ExitAuth, nil, []string{"wflo: ", "hint: log in"})
	o.reads("two words\n", "", "login").want(t, ExitAuth, nil, []string{"standard input holds no key"})
	o.does("", "logout").want(t, ExitError, nil, []string{"no key is kept for " + o.url})

	r := o.reads(ann+"\n", "", "login")
	r.want(t, 0, []string{"logged in to " + o.url + " as ann (approver)\n"}, nil)
	o.said.WriteString(r.out + r.errOut)
	o.does("", "whoami").want(t, 0, []string{"subject    ann", "roles      approver", "groups     ops", "proved by  apikey", "api        " + o.url}, nil)
	file, err := loginFile(o.url)
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != mode {
			t.Errorf("%s has mode %#o", path, info.Mode().Perm())
		}
	}
	o.gate("r1", nil)
	o.does("", "approve", "refunds", "--yes").want(t, 0, []string{"refunds approved by ann\n"}, []string{"digest"})

	// WFLO_TOKEN wins, and login says so.
	cat := o.approver("cat")
	o.does(cat, "whoami").want(t, 0, []string{"subject    cat"}, nil)
	o.reads(ann, cat, "login").want(t, 0, []string{"as ann"}, []string{"WFLO_TOKEN is set, and wins"})

	o.does("", "logout").want(t, 0, []string{"logged out of " + o.url}, nil)
	o.does("", "whoami").want(t, ExitAuth, nil, []string{"wants to know who you are"})
}

// A file with a key that others can read is not used, wherever it comes from.
func TestTokenFiles(t *testing.T) {
	o := newOffice(t)
	ann := o.approver("ann")
	file := filepath.Join(t.TempDir(), "ann.token")
	if err := os.WriteFile(file, []byte(ann+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(line ...string) result {
		// The environment of the office has no such file.
		o.environment("")
		t.Setenv("WFLO_TOKEN_FILE", file)
		var out, errOut strings.Builder
		code := Main(t.Context(), Deps{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut}, line)
		o.said.WriteString(out.String() + errOut.String())
		return result{code, out.String(), errOut.String()}
	}
	run("whoami").want(t, 0, []string{"subject    ann"}, nil)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		run("whoami").want(t, ExitAuth, nil, []string{"can be read by others (mode", "hint: chmod 600 "})
	}
	for _, text := range []string{"", "two words", "line\nline", strings.Repeat("x", maxToken+1), "caf\u00e9"} {
		if err := errorsOf(os.Chmod(file, 0o600), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		run("whoami").want(t, ExitAuth, nil, []string{"holds no key"})
	}
	file += ".none"
	run("whoami").want(t, ExitAuth, nil, []string{"no such file"})

	kept, err := loginFile(o.url)
	if err != nil {
		t.Fatal(err)
	}
	o.reads(ann, "", "login").want(t, 0, []string{"as ann"}, nil)
	if err := os.Chmod(kept, 0o644); err != nil {
		t.Fatal(err)
	}
	o.does("", "whoami").want(t, ExitAuth, nil, []string{"can be read by others"})
	o.does("", "approvals").want(t, ExitAuth, nil, []string{"can be read by others"})
	if err := errorsOf(os.Chmod(kept, 0o600), os.WriteFile(kept, []byte(`{"api":"https://elsewhere.example","token":"x"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	o.does("", "whoami").want(t, ExitAuth, nil, []string{"is not what wflo login wrote"})
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A key that is kept for one address goes to no other, follows no redirect, and is
// not shown when whoever answers repeats it.
func TestTokenStaysAtItsAddress(t *testing.T) {
	o := newOffice(t)
	ann := o.approver("ann")
	o.reads(ann, "", "login").want(t, 0, []string{"as ann"}, nil)

	other, atOther := stranger(t, http.NotFound)
	o.does("", "whoami", "--api", other).want(t, ExitError, nil, []string{"not as a worker's API"})
	if keys := atOther(); len(keys) != 1 || keys[0] != "" {
		t.Errorf("another address got %q", keys)
	}
	first, atFirst := stranger(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
	o.does(ann, "whoami", "--api", first).want(t, ExitError, nil, []string{"302 Found"})
	if keys := atFirst(); len(keys) != 1 || keys[0] != "Bearer "+ann {
		t.Errorf("the API got %q", keys)
	}
	if keys := atOther(); len(keys) != 0 {
		t.Errorf("the redirect was followed with %q", keys)
	}
	echo, _ := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintf(w, `{"message":"no such thing as %[1]s","hint":"try %[1]s"}`, r.Header.Get("Authorization"))
	})
	o.does(ann, "whoami", "--api", echo).want(t, ExitError, nil, []string{"no such thing as Bearer [key]"})
}

// Over a network a key goes by TLS only.
func TestNoTokenInTheClear(t *testing.T) {
	o := newOffice(t)
	ann := o.approver("ann")
	for _, base := range []string{"http://wflo.example.com", "http://10.0.0.1:7244", "http://127.0.0.1.example.com"} {
		o.does(ann, "whoami", "--api", base).want(t, ExitUsage, nil, []string{"a key is not sent in the clear", "hint: use the API's https:// address"})
		o.reads(ann, "", "login", "--api", base).want(t, ExitUsage, nil, []string{"a key is not sent in the clear"})
	}
	for base, here := range map[string]bool{
		"http://localhost:1": true, "http://127.0.0.9": true, "http://[::1]:2": true, "http://localhost.example": false, "http://[fe80::1]": false,
	} {
		if onThisMachine(base) != here {
			t.Errorf("onThisMachine(%s) = %v", base, !here)
		}
	}
}

// Who is known and may not has another exit code than who is not known.
func TestKnownAndNotAllowed(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", nil)
	viewer := o.key("vic", nil, wflo.RoleViewer)
	o.does(viewer, "approve", "refunds", "--yes").want(t, ExitDenied, nil, []string{"vic may not do this: the role approver is missing", "you: you do not have the role approver"})
	o.does(viewer, "keys", "list").want(t, ExitDenied, nil, []string{"the role admin is missing"})
	o.does("wflo_"+strings.Repeat("a", 16)+"_"+strings.Repeat("b", 52), "keys", "list").want(t, ExitAuth, nil, []string{"hint: log in with"})
	if g := o.runs.Gate("nonce-r1"); len(g.Votes) > 0 {
		t.Errorf("votes %+v", g.Votes)
	}
}

// An API that asks nobody who they are is nothing to log in to.
func TestLoginWhereNobodyIsKnown(t *testing.T) {
	f := someBooks().serves(t, &fakeTemporal{})
	t.Setenv("WFLO_API", f.api)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("WFLO_USER", "bob")
	var out, errOut strings.Builder
	code := Main(t.Context(), Deps{Stdin: strings.NewReader("anything\n"), Stdout: &out, Stderr: &errOut}, []string{"login"})
	result{code, out.String(), errOut.String()}.want(t, ExitError, nil, []string{"does not ask who you are", "nothing was kept"})
	invoke(t, f, "whoami").want(t, 0, []string{"subject    bob", "proved by  nothing"}, nil)
}
