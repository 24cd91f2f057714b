package docker

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestNetworkParallel has many connections open at the same time: the server
// answers none before it has all.
func TestNetworkParallel(t *testing.T) {
	t.Parallel()
	const many = 100
	var mu sync.Mutex
	arrived, all := 0, make(chan struct{})
	s := newSite(t, (*httptest.Server).Start, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if arrived++; arrived == many {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
		case <-r.Context().Done():
		}
	})
	r := networked(t, nil, nil)
	res := must(t, r, sandbox.Spec{
		Language: sandbox.Python, Network: sandbox.Allow("many.example:" + s.port), Limits: sandbox.Limits{PIDs: 300, CPUs: 2, Timeout: 2 * time.Minute},
		Source: fmt.Sprintf(`import urllib.request, concurrent.futures
def get(i):
    try:
        with urllib.request.urlopen("http://many.example:%s/", timeout=60) as r:
            return len(r.read())
    except Exception as e:
        return repr(e)
with concurrent.futures.ThreadPoolExecutor(%d) as pool:
    got = list(pool.map(get, range(%d)))
print({v: got.count(v) for v in got})
`, s.port, many, many),
	})
	if want := fmt.Sprintf("{10000: %d}\n", many); res.Stdout != want {
		t.Errorf("got %q, want %q; %d arrived; %+v", res.Stdout, want, arrived, res.Traffic)
	}
	if f := flow(t, res, "many.example:"+s.port); f.Received < many*10_000 || f.Connections < many {
		t.Errorf("traffic %+v", f)
	}
}
