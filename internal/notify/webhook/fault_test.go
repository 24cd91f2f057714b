package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
)

// TestTakenAndRefused has a receiver that takes a message and answers 500: it is sent
// again, and the receiver knows it by its ID.
func TestTakenAndRefused(t *testing.T) {
	r := receive(t, secret("a"))
	c := channel(t, r.URL, secret("a"))
	n := notifytest.Notice("hook", wflo.NoticeAsked, 0, notifytest.Gate())
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusNoContent} {
		r.status = status
		if _, err := c.Deliver(t.Context(), n); (err == nil) != (status == http.StatusNoContent) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	if len(r.ids) != 3 || r.ids[0] == "" || r.ids[1] != r.ids[0] || r.ids[2] != r.ids[0] {
		t.Errorf("the receiver saw the IDs %q, want one and the same", r.ids)
	}
}

// TestCertificateOfNobody sends nothing to a receiver that cannot show who it is.
func TestCertificateOfNobody(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the message arrived") }))
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	_, err := channel(t, s.URL+"/canary-token", secret("a")).Deliver(t.Context(), notifytest.Notice("hook", wflo.NoticeAsked, 0, notifytest.Gate()))
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error is %v", err)
	}
}
