package auth

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// maxCredential bounds an Authorization header, in bytes.
const maxCredential = 16 << 10

// BearerToken gives the token of the header Authorization. No header, or one of
// another scheme, is ErrNone. Two headers, or one that is no token by RFC 6750,
// are ErrRefused: a proxy in front might have checked the other one.
func BearerToken(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", ErrNone
	}
	if len(values) > 1 {
		return "", ErrRefused
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrNone
	}
	token = strings.Trim(token, " ")
	if token == "" || len(token) > maxCredential || strings.ContainsFunc(token, notOfToken) {
		return "", ErrRefused
	}
	return token, nil
}

// notOfToken is what b64token of RFC 6750 does not allow.
func notOfToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-._~+/=", r)
}

// maxBack bounds a path to return to, in bytes: it travels in a cookie.
const maxBack = 1024

// LocalPath gives the path, with its query, that a browser may be sent to after a
// login, or "/" for anything that a browser could read as another site: a scheme,
// a host, //host, /\host, control characters, and any of these once decoded.
func LocalPath(back string) string {
	if !strings.HasPrefix(back, "/") || len(back) > maxBack {
		return "/"
	}
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "/"
	}
	// Browsers take \ for /, and drop tabs and line ends before they look.
	if strings.ContainsFunc(back, notOfPath) || strings.ContainsFunc(u.Path, notOfPath) {
		return "/"
	}
	// Proxies decode and clean paths, some of them twice.
	decoded, err := url.PathUnescape(u.Path)
	if err != nil || strings.ContainsFunc(decoded, notOfPath) ||
		strings.Contains(u.Path, "//") || strings.Contains(decoded, "//") || path.Clean(decoded) != strings.TrimSuffix(decoded, "/") && decoded != "/" {
		return "/"
	}
	return u.RequestURI()
}

func notOfPath(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f || r == 0xfffd }
