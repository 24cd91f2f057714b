package wflo

import (
	"time"
)

// NoticeKind says what a notice is about.
type NoticeKind string

// The kinds.
const (
	NoticeAsked     NoticeKind = "approval.requested"
	NoticeReminder  NoticeKind = "approval.reminder"
	NoticeEscalated NoticeKind = "approval.escalated"
	NoticeClosed    NoticeKind = "approval.closed" // replaces what was asked: no buttons any more
	// NoticeDecided is a vote after which the gate is still open. It is recorded; no
	// channel is told.
	NoticeDecided NoticeKind = "approval.decided"
	NoticePolicy  NoticeKind = "policy"
	NoticeBudget  NoticeKind = "budget"
	NoticeHalted  NoticeKind = "run.halted"
	NoticeTest    NoticeKind = "test"
)

// NoticeState says what became of a notice.
type NoticeState string

// The states.
const (
	NoticePending   NoticeState = "pending"
	NoticeDelivered NoticeState = "delivered"
	NoticeDead      NoticeState = "dead_letter"
)

// Notice is one message to one channel. It is written down before it is sent, and
// sent at least once.
type Notice struct {
	// ID makes writing it down again harmless; receivers get it for the same.
	ID string `json:"id"`
	// Channel is a name of the configuration, such as "slack://ops-channel".
	Channel string     `json:"channel"`
	Kind    NoticeKind `json:"kind"`
	// Thread is the same for all notices about one thing, in the order of their
	// Seq: the gate's nonce, or the ID. A channel that can change what it sent
	// (Slack) or resolve it (PagerDuty) does.
	Thread   string   `json:"thread"`
	Seq      int      `json:"seq,omitempty"`
	Severity Severity `json:"severity,omitempty"`
	// Title is one line, Text a few; both plain.
	Title string `json:"title"`
	Text  string `json:"text,omitempty"`
	// Link is a path of the console, such as "/gates/..."; empty for none.
	Link string `json:"link,omitempty"`
	// Gate is the gate as it was; nil where it is about something else.
	Gate *Gate `json:"gate,omitempty"`
	// Chain is the audit chain that it belongs to.
	Chain string    `json:"chain,omitempty"`
	At    time.Time `json:"at"`
}

// NoticeRecord is a notice with what became of it.
type NoticeRecord struct {
	Notice
	State    NoticeState `json:"state"`
	Attempts int         `json:"attempts"`
	// Due is when it is tried next.
	Due time.Time `json:"due"`
	// Error is why the last attempt failed, without secrets.
	Error string `json:"error,omitempty"`
	// Receipt is what the channel answered to the thread's first notice, such as
	// the time stamp of a Slack message, for changing it later.
	Receipt     string    `json:"receipt,omitempty"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
}
