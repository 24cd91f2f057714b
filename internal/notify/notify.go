// Package notify delivers notices to people: [Outbox] takes them out of the store,
// and the packages below it are one kind of channel each. Channels are named in the
// configuration, and notices and policies know nothing of them but the names.
package notify

import (
	"context"
	"errors"

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
