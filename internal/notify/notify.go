// Package notify delivers notices to people: [Deliverer] takes them out of the
// store, and the packages below it are one kind of channel each. Channels are named
// in the configuration, and notices and policies know nothing of them but the names.
//
// A notice is sent at least once. A worker that dies between sending and writing
// that down sends it again, with the same ID, so that receivers can tell.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Channel delivers notices to one place. Its methods may be called at the same
// time. Errors never hold a secret or the body of a message.
type Channel interface {
	// Deliver sends a notice, or changes what an earlier one of its thread sent. The
	// receipt, if not empty, comes with the later notices of the thread. Sending the
	// same notice again must be harmless where the receiver can tell. An error that
	// matches ErrRefused is not worth another try.
	Deliver(ctx context.Context, n wflo.NoticeRecord) (receipt string, err error)
}

// ErrRefused says that the receiver will never take the notice: the address or the
// credential is wrong, or the message is.
var ErrRefused = errors.New("refused")

// Later is the error of a receiver that says when to try again.
type Later struct {
	After time.Duration
	Err   error
}

// Error is that of the cause.
func (l *Later) Error() string { return l.Err.Error() }

// Unwrap gives the cause.
func (l *Later) Unwrap() error { return l.Err }

// maxLater bounds what a receiver may ask to wait.
const maxLater = 24 * time.Hour

// RetryAfter makes err a Later where the header of an answer says when to try
// again, in seconds or as a date.
func RetryAfter(h http.Header, now time.Time, err error) error {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return err
	}
	var after time.Duration
	if seconds, numErr := strconv.ParseUint(text, 10, 32); numErr == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, dateErr := http.ParseTime(text); dateErr == nil {
		after = at.Sub(now)
	}
	if after <= 0 {
		return err
	}
	return &Later{After: min(after, maxLater), Err: err}
}

// Status is the error for an answer of an HTTP status. It quotes nothing of the
// answer's body: servers repeat there what they were sent.
func Status(receiver string, status int) error {
	return fmt.Errorf("%s answered %d %s", receiver, status, http.StatusText(status))
}
