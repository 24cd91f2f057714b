package console

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Patience is how long clients may take. Nobody needs a key to be slow.
type Patience struct {
	// Header is for a request's header, and the handshake of TLS; zero means ten
	// seconds.
	Header time.Duration
	// Request is for all of a request, with its body; zero means a minute.
	Request time.Duration
	// Idle is for the next request on the same connection; zero means two minutes.
	Idle time.Duration
}

func (p Patience) orDefault() Patience {
	return Patience{cmp.Or(p.Header, 10*time.Second), cmp.Or(p.Request, time.Minute), cmp.Or(p.Idle, 2*time.Minute)}
}

// defaultConns is far below what a process may open, and far above what people need
// at the same time; programs that stream answers need one each.
const defaultConns = 4096

// connections is a listener that bounds how many connections are open. When there is
// no room, a new one takes the place of one that waits for its client: for a request,
// for the rest of one, or for nothing. Of those it ends one of the customer that has
// most, and of these the one that has waited longest. So whoever opens thousands and
// says nothing, or a byte now and then, ends their own. What is being answered is never
// ended; where that is all, the new one is refused.
type connections struct {
	net.Listener
	most   int
	logger *slog.Logger

	mu   sync.Mutex
	open map[*connection]struct{}
	from map[string]int // how many each customer has
	// turn counts what happens, to tell what was first.
	turn uint64
	full bool // the last one was refused
}

func newConnections(l net.Listener, most int, logger *slog.Logger) *connections {
	return &connections{Listener: l, most: cmp.Or(most, defaultConns), logger: logger, open: map[*connection]struct{}{}, from: map[string]int{}}
}

// connection is one that is counted.
type connection struct {
	net.Conn
	all      *connections
	customer string
	// working counts the handlers that do not wait for the client, and turn is when
	// the last one began to. Both are of all.mu.
	working int
	turn    uint64
}

// Accept implements net.Listener.
func (l *connections) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, ended := l.admit(conn)
		if ended != nil {
			_ = ended.Close()
		}
		if c != nil {
			return c, nil
		}
		_ = conn.Close()
	}
}

// admit counts a connection; nil means that there is no room. ended had to make room.
func (l *connections) admit(conn net.Conn) (c, ended *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		if ended = l.waiting(); ended == nil {
			if !l.full {
				l.logger.Warn("connections are refused: all that may be open are being answered", "open", len(l.open))
			}
			l.full = true
			return nil, nil
		}
		l.forget(ended)
	}
	l.full = false
	l.turn++
	c = &connection{Conn: conn, all: l, customer: customerOf(conn), turn: l.turn}
	l.open[c] = struct{}{}
	l.from[c.customer]++
	return c, ended
}

// waiting is the connection to end when there is no room; nil when none waits.
func (l *connections) waiting() (found *connection) {
	for c := range l.open {
		if c.working > 0 {
			continue
		}
		if found == nil || cmp.Or(cmp.Compare(l.from[found.customer], l.from[c.customer]), cmp.Compare(c.turn, found.turn)) < 0 {
			found = c
		}
	}
	return found
}

// count says how many are open.
func (l *connections) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

func (l *connections) forget(c *connection) {
	if _, known := l.open[c]; !known {
		return
	}
	delete(l.open, c)
	if l.from[c.customer]--; l.from[c.customer] == 0 {
		delete(l.from, c.customer)
	}
}

func customerOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return customer(host)
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.all.mu.Lock()
	c.all.forget(c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// works tells that a handler is at work, or waits.
func (c *connection) works(n int) {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.turn++
	c.working, c.turn = c.working+n, c.all.turn
}

type connectionKey struct{}

// withConnection keeps a connection where handlers find it; for http.Server.ConnContext.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = over.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

// counted tells the request's connection when a handler is at work.
func counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.works(1)
			defer c.works(-1)
			if r.Body != http.NoBody {
				r.Body = slowBody{r.Body, c}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// slowBody is the body of a request, on which a handler waits for the client.
type slowBody struct {
	io.ReadCloser
	c *connection
}

// Read implements io.Reader.
func (b slowBody) Read(p []byte) (int, error) {
	b.c.works(-1)
	defer b.c.works(1)
	return b.ReadCloser.Read(p)
}
