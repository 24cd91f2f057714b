package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
)

func TestVersionOfServer(t *testing.T) {
	o := newOffice(t)
	f := &fakeTemporal{api: o.url}
	t.Setenv("WFLO_TOKEN", o.key("vic", nil, wflo.RoleViewer))
	if r := invoke(t, f, "version", "--server", "-o", "json"); r.code != 0 || !strings.Contains(r.out, `"temporal": "`+desktest.ServerVersion+`"`) || !strings.Contains(r.out, `"schema": "`) {
		t.Errorf("%d %s %s", r.code, r.out, r.errOut)
	}
	older := httptest.NewServer(http.NotFoundHandler())
	defer older.Close()
	t.Setenv("WFLO_TOKEN", "")
	if r := invoke(t, &fakeTemporal{api: older.URL}, "version", "--server"); r.code == 0 || !strings.Contains(r.errOut, "does not tell its versions") {
		t.Errorf("%d %s %s", r.code, r.out, r.errOut)
	}
}
