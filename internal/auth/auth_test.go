package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// way is an Authenticator that always gives the same.
type way struct {
	id    wflo.Identity
	err   error
	asked *int
}

func (w way) Authenticate(*http.Request) (wflo.Identity, error) {
	*w.asked++
	return w.id, w.err
}

func TestChainDecides(t *testing.T) {
	bad := errors.New("bad")
	ann := wflo.Identity{Subject: "ann"}
	for _, test := range []struct {
		name  string
		ways  []way
		want  string
		err   error
		asked int
	}{
		{"nothing", nil, "", ErrNone, 0},
		{"no credential of any kind", []way{{err: ErrNone}, {err: ErrNone}}, "", ErrNone, 2},
		{"the second", []way{{err: ErrNone}, {id: ann}, {err: bad}}, "ann", nil, 2},
		{"a bad one before a good one", []way{{err: bad}, {id: ann}}, "", bad, 1},
		{"an identity beside an error does not count", []way{{id: ann, err: bad}}, "", bad, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			var ways []Authenticator
			for _, w := range test.ways {
				w.asked = &asked
				ways = append(ways, w)
			}
			id, err := Chain(ways...).Authenticate(httptest.NewRequest("GET", "/", nil))
			if !errors.Is(err, test.err) || id.Subject != test.want || asked != test.asked {
				t.Errorf("got %q, %v after %d; want %q, %v after %d", id.Subject, err, asked, test.want, test.err, test.asked)
			}
		})
	}
}

func TestBearerToken(t *testing.T) {
	for _, test := range []struct {
		headers []string
		want    string
		err     error
	}{
		{nil, "", ErrNone},
		{[]string{"Basic YTpi"}, "", ErrNone},
		{[]string{"Bearerx abc"}, "", ErrNone},
		{[]string{""}, "", ErrNone},
		{[]string{"Bearer abc"}, "abc", nil},
		{[]string{"bearer  abc "}, "abc", nil},
		{[]string{"BEARER a.b-c_d~e+f/g=="}, "a.b-c_d~e+f/g==", nil},
		{[]string{"Bearer"}, "", ErrRefused},
		{[]string{"Bearer "}, "", ErrRefused},
		{[]string{"Bearer a b"}, "", ErrRefused},
		{[]string{"Bearer a,Bearer b"}, "", ErrRefused},
		{[]string{"Bearer a\x00b"}, "", ErrRefused},
		{[]string{"Bearer ä"}, "", ErrRefused},
		{[]string{"Bearer good", "Bearer evil"}, "", ErrRefused},
		{[]string{"Basic YTpi", "Bearer a"}, "", ErrRefused},
		{[]string{"Bearer " + strings.Repeat("a", maxCredential+1)}, "", ErrRefused},
	} {
		got, err := BearerToken(http.Header{"Authorization": test.headers})
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%.60q: %q, %v; want %q, %v", test.headers, got, err, test.want, test.err)
		}
	}
}

func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"Bearer abc", "bearer \t", "Bearer a\r\nX: y", "Basic x", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, err := BearerToken(http.Header{"Authorization": {header}})
		if (err == nil) == (token == "") {
			t.Fatalf("%q: token %q with error %v", header, token, err)
		}
		if err == nil && (strings.ContainsAny(token, " \t\r\n\x00,\"") || !strings.Contains(header, token)) {
			t.Fatalf("%q gave %q", header, token)
		}
	})
}

func TestLocalPath(t *testing.T) {
	for _, back := range []string{
		"/", "/inbox", "/runs/a?tab=gates&x=1", "/runs/", "/runs/a%20b", "/runs/a%2Fb",
	} {
		if got := LocalPath(back); got != back {
			t.Errorf("LocalPath(%q) = %q", back, got)
		}
	}
	for _, back := range []string{
		"", "inbox", "http://evil.example", "https:evil.example", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`,
		`/\/evil.example`, "/\t/evil.example", "/\n/evil.example", "/%09/evil.example", "/%0a/evil.example", "/%5cevil.example",
		"/%2f/evil.example", "/%2fevil.example", "%2f%2fevil.example", "/%252f%252fevil.example", "/%252fevil.example", "/a//b", "/a/../..//evil.example", "/..//evil.example",
		"/./evil", "/a/../b", "javascript:alert(1)", "/%00", "/\x7f", "/%ff%zz", " /inbox", "/inbox\r\nSet-Cookie: a=b", "/%c0%af", "/" + strings.Repeat("a", maxBack),
		"//user@evil.example/", "/inbox#//evil\t",
	} {
		if got := LocalPath(back); got != "/" {
			t.Errorf("LocalPath(%q) = %q, want /", back, got)
		}
	}
}

// A browser that resolves the path must stay where it is.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/inbox?a=b", "//evil", `/\evil`, "/%2f%2fevil", "/a/../..//b", "http://a", "/?//evil", "/;//x"} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "console.example", Path: "/auth/callback"}
	f.Fuzz(func(t *testing.T, back string) {
		path := LocalPath(back)
		u, err := base.Parse(path)
		if err != nil || u.Host != base.Host || u.Scheme != "https" || u.User != nil {
			t.Fatalf("%q became %q, which is %v, %v", back, path, u, err)
		}
		if path[0] != '/' || len(path) > 1 && (path[1] == '/' || path[1] == '\\') {
			t.Fatalf("%q became %q", back, path)
		}
		// As a browser cleans it, and as a proxy decodes it.
		for range 3 {
			cleaned := strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(path)
			if strings.HasPrefix(cleaned, "//") {
				t.Fatalf("%q became %q", back, cleaned)
			}
			rest, _, _ := strings.Cut(path, "?")
			if path, err = url.PathUnescape(rest); err != nil {
				break
			}
		}
		if again := LocalPath(LocalPath(back)); again != LocalPath(back) {
			t.Fatalf("%q is %q the first time, and %q then", back, LocalPath(back), again)
		}
	})
}
