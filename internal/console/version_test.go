package console

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
)

func TestVersions(t *testing.T) {
	o := newOffice(t, func(c *Config) {
		c.Setup = Setup{Version: "v9.8.7", Limits: map[string]string{"Budget of a run": "5.00 USD"}}
	})
	got := o.api(o.key("vic", "", wflo.RoleViewer), "GET", "/api/v1/version", "")
	var v Version
	if err := json.Unmarshal([]byte(got.body), &v); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s, %v", got.status, got.body, err)
	}
	if v.Program != "v9.8.7" || v.API != "v1" || v.Go == "" || v.Temporal != desktest.ServerVersion || v.Schema == nil || v.Schema.Have == 0 || v.Schema.Have != v.Schema.Known {
		t.Errorf("%+v, schema %+v", v, v.Schema)
	}
	page := o.send(o.logIn(o.key("vic2", "", wflo.RoleViewer)), http.MethodGet, "/settings", "")
	wants(t, "settings", page, 200, "v9.8.7", desktest.ServerVersion, "Who follow runs at a time", "2048", "Budget of a run", "5.00 USD", "Requests a second")
	bound := o.send(o.logIn(o.key("lee", "acme", wflo.RoleViewer)), http.MethodGet, "/settings", "")
	wants(t, "settings of a tenant", bound, 200, "!v9.8.7", "!Who follow runs")
}
