package config

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// file reads the whole configuration.
func (r *reader) file(n ast.Node, f *File) error {
	_, err := r.mapping(n, "the configuration",
		field{"budgets", func(n ast.Node) error { return r.budgets(n, f) }},
		field{"routes", func(n ast.Node) error {
			return r.list(n, "routes", func(n ast.Node) error { return r.route(n, f) })
		}},
		field{"cache", func(n ast.Node) error { return r.cache(n, &f.Cache) }},
		field{"estimates", func(n ast.Node) error {
			s, err := r.text(n, "estimates")
			if err != nil {
				return err
			}
			if f.Estimates, err = ParseEstimates(s); err != nil {
				return r.fail(n, "use strict or learned", "estimates is %q", short(s))
			}
			return nil
		}},
		field{"gateway", func(n ast.Node) error { return r.gateway(n, &f.Gateway) }},
		field{"meter", func(n ast.Node) error { return r.meter(n, &f.Meter) }},
		field{"approvals", func(n ast.Node) error { return r.approvals(n, &f.Approvals) }},
		field{"policies", func(n ast.Node) error { return r.policies(n, &f.Policies) }},
		field{"audit", func(n ast.Node) error { return r.audit(n, &f.Audit) }},
		field{"channels", func(n ast.Node) error { return r.channelList(n, f) }},
		field{"console", func(n ast.Node) error { return r.console(n, &f.Console) }},
		field{"snapshots", func(n ast.Node) error { return r.snapshots(n, &f.Snapshots) }},
		field{"logs", func(n ast.Node) error { return r.logs(n, &f.Logs) }},
		field{"payloads", func(n ast.Node) error { return r.payloads(n, &f.Payloads) }},
	)
	return err
}

// budgets reads the list and refuses two of the same scope and name.
func (r *reader) budgets(n ast.Node, f *File) error {
	lines := map[string]int{}
	return r.list(n, "budgets", func(n ast.Node) error {
		b, err := r.budget(n)
		if err != nil {
			return err
		}
		line, _ := place(n)
		if before, twice := lines[b.ID()]; twice {
			return r.fail(n, "declare each scope and name once", "budget %s is declared again, after line %d", short(b.ID()), before)
		}
		lines[b.ID()] = line
		f.Budgets = append(f.Budgets, b)
		return nil
	})
}

func (r *reader) budget(n ast.Node) (wflo.Budget, error) {
	var b wflo.Budget
	var scope, period, exceeded string
	set, err := r.mapping(n, "a budget",
		r.textField("scope", &scope), r.textField("name", &b.Name), r.textField("period", &period),
		r.textField("time_zone", &b.TimeZone), r.textField("on_exceeded", &exceeded),
		field{"limit", func(n ast.Node) (err error) { b.Limit, err = r.money(n, "limit"); return err }},
		field{"thresholds", func(n ast.Node) (err error) { b.Thresholds, err = r.percentages(n); return err }},
	)
	if err != nil {
		return b, err
	}
	b.Scope, b.Period, b.OnExceeded = wflo.Scope(scope), wflo.Period(period), wflo.OnExceeded(exceeded)
	if set["scope"] == nil {
		return b, r.fail(n, "say whose spending it counts, such as scope: team", "the budget has no scope")
	}
	if set["limit"] == nil {
		return b, r.fail(n, `say what may be spent, such as limit: "5.00"`, "budget %s has no limit", short(b.ID()))
	}
	if d, ok := b.Period.Rolling(); ok {
		b.Period = wflo.Rolling(d)
	}
	return b, r.check(n, set, "budget", b.Validate())
}

func (r *reader) percentages(n ast.Node) ([]int, error) {
	out := []int{} // an empty list means none, no list the default
	err := r.list(n, "thresholds", func(n ast.Node) error {
		v, err := r.integer(n, "a threshold")
		if err == nil && (v < 1 || v > 100) {
			err = r.fail(n, "give ascending percentages from 1 to 100", "a threshold is %d", v)
		}
		out = append(out, int(v))
		return err
	})
	return out, err
}

// check gives an error of package wflo the place of the field that it names.
func (r *reader) check(n ast.Node, set map[string]ast.Node, what string, err error) error {
	if err == nil {
		return nil
	}
	message, hint := wflo.Explain(err)
	for name, value := range set {
		if rest, ok := strings.CutPrefix(message, what+"."+name); ok && (rest == "" || rest[0] == ' ' || rest[0] == '[') {
			n = value
		}
	}
	return r.fail(n, hint, "%s", message)
}

func (r *reader) route(n ast.Node, f *File) error {
	var to activities.Route
	set, err := r.mapping(n, "a route",
		r.textField("model", &to.Model),
		field{"scopes", func(n ast.Node) (err error) { to.Scopes, err = r.texts(n, "scopes"); return err }},
		field{"max_input", func(n ast.Node) (err error) { to.MaxInput, err = r.integer(n, "max_input"); return err }},
		field{"above", func(n ast.Node) error {
			v, err := r.integer(n, "above")
			if err == nil && (v < 1 || v > 100) {
				err = r.fail(n, "give a percentage from 1 to 100, or leave it out", "above is %d", v)
			}
			to.Above = int(v)
			return err
		}},
		field{"to", func(n ast.Node) (err error) { to.To, err = r.texts(n, "to"); return err }},
	)
	if err != nil {
		return err
	}
	f.Routes = append(f.Routes, to)
	return r.check(n, set, "route", to.Validate())
}

func (r *reader) cache(n ast.Node, c *Cache) error {
	set, err := r.mapping(n, "the cache",
		field{"ttl", func(n ast.Node) (err error) { c.TTL, err = r.duration(n, "ttl"); return err }},
		field{"redis", func(n ast.Node) error {
			s, err := r.text(n, "redis")
			if err != nil {
				return err
			}
			if err := checkRedis(s); err != nil {
				return r.fail(n, "use redis://HOST:PORT/NUMBER; a URL with a password belongs into WFLO_REDIS_URL", "redis %s", err.Error())
			}
			c.Redis = s
			return nil
		}},
	)
	if err == nil && set["ttl"] == nil {
		return r.fail(n, "say how long answers are kept, such as ttl: 10m", "the cache has no ttl")
	}
	return err
}

// checkRedis does not repeat what it refuses.
func checkRedis(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "":
		return errors.New("is not the URL of a Redis server")
	case u.User != nil:
		return errors.New("holds a credential")
	}
	return nil
}

var variable = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

func (r *reader) gateway(n ast.Node, g *Gateway) error {
	lines := map[string]int{}
	_, err := r.mapping(n, "the gateway", field{"keys", func(n ast.Node) error {
		return r.list(n, "keys", func(n ast.Node) error {
			k, err := r.key(n)
			if err != nil {
				return err
			}
			line, _ := place(n)
			if before, twice := lines[k.Name]; twice {
				return r.fail(n, "give each key a name of its own", "key %s is declared again, after line %d", short(k.Name), before)
			}
			lines[k.Name] = line
			g.Keys = append(g.Keys, k)
			return nil
		})
	}})
	return err
}

func (r *reader) key(n ast.Node) (GatewayKey, error) {
	var k GatewayKey
	set, err := r.mapping(n, "a key",
		r.textField("name", &k.Name), r.textField("file", &k.File), r.textField("user", &k.User), r.textField("team", &k.Team),
		r.textField("org", &k.Org), r.textField("agent", &k.Agent),
		field{"env", func(n ast.Node) (err error) { k.Env, err = r.variable(n); return err }},
		field{"tags", func(n ast.Node) (err error) { k.Tags, err = r.words(n, "tags", "a tag"); return err }},
		field{"budget", func(n ast.Node) (err error) { k.Budget, err = r.money(n, "budget"); return err }},
	)
	switch {
	case err != nil:
		return k, err
	case k.Name == "":
		return k, r.fail(n, "name it as logs shall call it", "the key has no name")
	case (k.Env == "") == (k.File == ""):
		return k, r.fail(n, "set one of env and file", "key %s does not say where it is, or says it twice", short(k.Name))
	}
	return k, r.check(n, set, "run", k.Run().Validate())
}

// words reads a mapping of text to text.
func (r *reader) words(n ast.Node, what, one string) (map[string]string, error) {
	values, err := r.pairs(n, what)
	words := make(map[string]string, len(values))
	for _, v := range values {
		if words[v.Key.GetToken().Value], err = r.text(v.Value, one); err != nil {
			return nil, err
		}
	}
	return words, err
}

func (r *reader) meter(n ast.Node, m *Meter) error {
	_, err := r.mapping(n, "the meter",
		field{"hosts", func(n ast.Node) (err error) { m.Hosts, err = r.words(n, "hosts", "a host's provider"); return err }},
		field{"models", func(n ast.Node) (err error) { m.Models, err = r.words(n, "models", "a model"); return err }},
		field{"allow", func(n ast.Node) (err error) { m.Allow, err = r.texts(n, "allow"); return err }},
		field{"outside_tokens", func(n ast.Node) error {
			v, err := r.integer(n, "outside_tokens")
			if err == nil && v < 1 {
				err = r.fail(n, "give a number of tokens that no image or file exceeds, or leave it out to refuse them", "outside_tokens is %d", v)
			}
			m.OutsideTokens = v
			return err
		}},
	)
	return err
}
