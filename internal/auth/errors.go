package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// What callers branch on. Each is the cause of an *wflo.Error.
var (
	// ErrRefused says that a credential is not good. Why is in the log only: an
	// answer that told an unknown name from a wrong password would list the names.
	ErrRefused = errors.New("the credential is not valid")
	// ErrNoRole says that somebody is who they say, and may do nothing here.
	ErrNoRole = errors.New("nothing here is open to this account")
	// ErrUnavailable says that nobody could be asked, so that nobody gets in.
	ErrUnavailable = errors.New("cannot be checked at the moment")
	// ErrLimited says that too many logins failed; see [LimitedError].
	ErrLimited = errors.New("too many attempts")
)

// Refused is the answer to a credential that is not good, always the same for
// one way: hint says how to get a good one, and never what was wrong.
func Refused(hint string) error {
	return &wflo.Error{Code: wflo.CodePolicyDenied, Message: ErrRefused.Error(), Hint: hint, Err: ErrRefused}
}

// Unavailable is the answer when what knows about credentials, such as
// "directory", could not be asked. The cause is for the log: it may name hosts.
func Unavailable(what string) error {
	return &wflo.Error{Code: wflo.CodeProvider, Message: "the " + what + " " + ErrUnavailable.Error(),
		Hint: "try again; the console's log has the cause", Err: ErrUnavailable}
}

// LimitedError says when another attempt is heard. It matches ErrLimited.
type LimitedError struct{ RetryAfter time.Duration }

// Error says when to try again.
func (e *LimitedError) Error() string {
	return fmt.Sprintf("%s; try again in %s", ErrLimited.Error(), e.RetryAfter.Round(time.Second))
}

// Is matches ErrLimited.
func (e *LimitedError) Is(target error) bool { return target == ErrLimited }
