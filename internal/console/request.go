package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// HeaderUser says who asks for a change where nobody can prove it: it is for the
// ledger's record, and whoever reaches the API may write any name. Of a caller who has
// proved who they are it is ignored.
const HeaderUser = "X-Wflo-User"

// maxText bounds a name or a reason that somebody sends, in bytes.
const maxText = 500

// absent is the error for something that is not there: status 404.
type absent struct{ message, hint string }

func (e *absent) Error() string { return e.message }

// body reads the request's JSON into what out points to. Fields that out does
// not have, and a second value, are refused: a misspelt limit must not become
// no limit.
func body(r *http.Request, what, hint string, out any) error {
	dec := json.NewDecoder(r.Body) // its route has bounded it
	dec.DisallowUnknownFields()
	if err := dec.Decode(out); err != nil {
		return wflo.Errorf(wflo.CodeInvalid, hint, "read %s: %w", what, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return wflo.Errorf(wflo.CodeInvalid, hint, "read %s: there is more after it", what)
	}
	return nil
}

// user is who asks for a change, which the ledger keeps.
func user(r *http.Request) (string, error) {
	if c := callerOf(r.Context()); c.proved {
		return c.id.Subject, nil
	}
	name := strings.TrimSpace(r.Header.Get(HeaderUser))
	if name == "" {
		return "", wflo.Invalid("header "+HeaderUser, "is missing", "say who makes the change")
	}
	return name, text("header "+HeaderUser, name)
}

// text refuses what is too long to keep, and what would garble a display.
func text(field, value string) error {
	switch {
	case len(value) > maxText:
		return wflo.Invalid(field, fmt.Sprintf("is %d bytes long", len(value)), fmt.Sprintf("use at most %d", maxText))
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return wflo.Invalid(field, fmt.Sprintf("%q is not plain text", value), "use text without control characters")
	}
	return nil
}

// queryOf gives the parameters, and refuses those that the path does not have:
// a misspelt filter must not become no filter.
func queryOf(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "encode it as a URL's query", "read the query: %w", err)
	}
	for name := range q {
		if !slices.Contains(known, name) {
			return nil, wflo.Invalid("query", fmt.Sprintf("has %q", name), "use "+strings.Join(known, ", "))
		}
	}
	return q, nil
}

// count reads a number of things from 1 to most.
func count(q url.Values, name string, without, most int) (int, error) {
	given := q.Get(name)
	if given == "" {
		return without, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 1 || n > most {
		return 0, wflo.Invalid(name, fmt.Sprintf("is %q", given), fmt.Sprintf("use a number from 1 to %d", most))
	}
	return n, nil
}
