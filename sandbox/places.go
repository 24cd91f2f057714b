package sandbox

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Place says which of several hosts has a box, and what of its workspace is kept
// elsewhere.
type Place struct {
	// Box is whose place it is, and Version how often it was put; zero for one that is
	// not kept yet.
	Box     string `json:"-"`
	Version int64  `json:"-"`
	// Owner is the installation that it is of.
	Owner string `json:"owner,omitempty"`
	// Host is the name of the host. Only that host's workspace is the box's; what another
	// one has is left over.
	Host string `json:"host"`
	// Moves counts how often the box has changed hosts. Who began before a move is known
	// by it, and what comes of that does not count.
	Moves int `json:"moves,omitempty"`
	// From is the host before the last move, and Moved when that was.
	From  string    `json:"from,omitempty"`
	Moved time.Time `json:"moved,omitzero"`
	// Bring says that Part is still to be brought to Host.
	Bring bool `json:"bring,omitempty"`
	// Done counts what has ended that may have changed the workspace: programs and
	// writes. Saved is how many of those Part has in it. Where Done is more, files would
	// be lost with the host.
	Done  int64 `json:"done,omitempty"`
	Saved int64 `json:"saved,omitempty"`
	// Part is the workspace as it was kept last, at SavedAt; nil for never.
	Part    *wflo.SnapshotPart `json:"part,omitempty"`
	SavedAt time.Time          `json:"saved_at,omitzero"`
}

// Places keeps where boxes are, for all workers. Its methods may be called at the
// same time.
type Places interface {
	// Place gives the place of a box; ok says that there is one.
	Place(ctx context.Context, box string) (p Place, ok bool, err error)
	// PutPlace keeps p if the place still has p.Version, which is zero where there is
	// none. ok is false if somebody was faster. Where the answer is lost it may have been
	// kept all the same.
	PutPlace(ctx context.Context, p Place) (ok bool, err error)
	// DropPlace forgets the place of a box; one that does not exist is no error.
	DropPlace(ctx context.Context, box string) error
	// ListPlaces gives at most limit places after a box, in the order of their names.
	ListPlaces(ctx context.Context, after string, limit int) ([]Place, error)
}
