package config

import "github.com/goccy/go-yaml/ast"

// Payloads says how what Temporal keeps of runs is sealed, and where large payloads are.
type Payloads struct {
	// Keys seal it; unset means those of the environment.
	Keys Secret
	// RefusePlain refuses what is not sealed.
	RefusePlain bool
	// Store is a directory or s3://BUCKET/PREFIX; empty means the default.
	Store string
}

func (r *reader) payloads(n ast.Node, p *Payloads) error {
	set, err := r.mapping(n, "payloads", r.secretField("keys", &p.Keys), r.boolField("refuse_plain", &p.RefusePlain),
		r.textField("store", &p.Store))
	if err != nil {
		return err
	}
	if err := r.place(set["store"], p.Store); err != nil {
		return err
	}
	if p.RefusePlain && !p.Keys.Set() {
		return r.fail(set["refuse_plain"], "name the keys: {env: WFLO_PAYLOAD_KEYS}", "refuse_plain is set, but keys is not")
	}
	return nil
}
