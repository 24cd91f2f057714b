package config

import (
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"path"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
)

// Approvals says which decisions count at gates, and what holds for gates that do
// not say it themselves.
type Approvals struct {
	// Terms are the keys, groups and gates for unsigned decisions.
	Terms wflo.Terms
	// FourEyes, ReasonRequired and SignedOnly hold for every gate.
	FourEyes, ReasonRequired, SignedOnly bool
	// Notify are the channels of gates that name none.
	Notify []string
	// RequiredActivities are activities that no worker begins without an approval.
	RequiredActivities []string
	// Timeout and Expiry are those of gates that say zero.
	Timeout, Expiry time.Duration
}

// Policies names the files of policies; empty means none.
type Policies struct {
	// File governs runs that begin from now on, Emergency every activity at once.
	File, Emergency string
}

// Audit says where signed checkpoints of the trail are kept.
type Audit struct {
	// Checkpoints is a directory, on another disk or host than the database. Empty
	// means none.
	Checkpoints string
	// Key is the file of the Ed25519 key that signs them.
	Key string
}

// Secret says where a secret is: in an environment variable or in a file. The file
// of the configuration never holds one.
type Secret struct{ Env, File string }

// Set says that it is somewhere.
func (s Secret) Set() bool { return s.Env != "" || s.File != "" }

// Read gives the secret without space around it. One that is not there or empty is
// an *wflo.Error with CodeMissingKey; what says whose it is.
func (s Secret) Read(what string) (string, error) {
	where, value := "variable "+s.Env, os.Getenv(s.Env)
	if s.File != "" {
		where = "file " + s.File
		data, err := os.ReadFile(s.File)
		if err != nil {
			return "", wflo.Errorf(wflo.CodeMissingKey, "name a readable file", "%s: %w", what, err)
		}
		value = string(data)
	}
	if value = strings.TrimSpace(value); value == "" {
		return "", wflo.Errorf(wflo.CodeMissingKey, "put the secret there", "%s: %s is empty", what, where)
	}
	return value, nil
}

// secret reads {env: NAME} or {file: PATH}.
func (r *reader) secret(n ast.Node, what string) (s Secret, err error) {
	if _, text := n.(*ast.StringNode); text {
		return s, r.fail(n, "write {env: NAME} or {file: PATH}; this file never holds a secret", "%s is text", what)
	}
	_, err = r.mapping(n, what,
		field{"env", func(n ast.Node) (err error) { s.Env, err = r.variable(n); return err }},
		r.textField("file", &s.File),
	)
	if err == nil && (s.Env == "") == (s.File == "") {
		err = r.fail(n, "set one of env and file", "%s does not say where it is, or says it twice", what)
	}
	return s, err
}

func (r *reader) secretField(name string, into *Secret) field {
	return field{name, func(n ast.Node) (err error) { *into, err = r.secret(n, name); return err }}
}

// variable reads the name of an environment variable.
func (r *reader) variable(n ast.Node) (string, error) {
	name, err := r.text(n, "env")
	if err == nil && !variable.MatchString(name) {
		err = r.fail(n, "name the variable that holds it, never the secret itself", "env is not the name of a variable")
	}
	return name, err
}

func (r *reader) boolField(name string, into *bool) field {
	return field{name, func(n ast.Node) error {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return r.fail(n, "write true or false", "%s is %s", name, kind(n))
		}
		*into = b.Value
		return nil
	}}
}

func (r *reader) durationField(name string, into *time.Duration) field {
	return field{name, func(n ast.Node) (err error) { *into, err = r.duration(n, name); return err }}
}

func (r *reader) textsField(name string, into *[]string) field {
	return field{name, func(n ast.Node) (err error) { *into, err = r.texts(n, name); return err }}
}

func (r *reader) approvals(n ast.Node, a *Approvals) error {
	_, err := r.mapping(n, "approvals",
		r.boolField("four_eyes", &a.FourEyes), r.boolField("reason_required", &a.ReasonRequired), r.boolField("signed_only", &a.SignedOnly),
		r.boolField("allow_unsigned", &a.Terms.AllowUnsigned),
		r.durationField("timeout", &a.Timeout), r.durationField("expiry", &a.Expiry),
		field{"notify", func(n ast.Node) (err error) { a.Notify, err = r.channels(n); return err }},
		field{"required_activities", func(n ast.Node) (err error) { a.RequiredActivities, err = r.activities(n); return err }},
		field{"unsigned_gates", func(n ast.Node) (err error) { a.Terms.UnsignedGates, err = r.patterns(n); return err }},
		field{"groups", func(n ast.Node) (err error) { a.Terms.Groups, err = r.groups(n); return err }},
		field{"keys", func(n ast.Node) (err error) {
			a.Terms.Keys, err = r.words(n, "keys", "a key")
			for _, v := range pairsOf(n) {
				if err == nil {
					err = r.publicKey(v.Value, a.Terms.Keys[v.Key.GetToken().Value])
				}
			}
			return err
		}},
		field{"signers", func(n ast.Node) error { return r.signers(n, &a.Terms) }},
	)
	return err
}

// pairsOf are the pairs of a mapping that was read before.
func pairsOf(n ast.Node) []*ast.MappingValueNode {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	return nil
}

func (r *reader) publicKey(n ast.Node, text string) error {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return r.fail(n, "print the public key where the private one was made: wflo keygen FILE", "the key is not an Ed25519 public key in base64")
	}
	return nil
}

// signers reads the keys of persons.
func (r *reader) signers(n ast.Node, t *wflo.Terms) error {
	t.Signers = map[string]wflo.Signer{}
	return r.list(n, "signers", func(n ast.Node) error {
		var name string
		var s wflo.Signer
		set, err := r.mapping(n, "a signer",
			r.textField("name", &name), r.textField("public", &s.Public), r.textField("subject", &s.Subject), r.textsField("groups", &s.Groups))
		switch _, twice := t.Signers[name]; {
		case err != nil:
			return err
		case name == "" || s.Subject == "" || s.Public == "":
			return r.fail(n, "set name, subject and public", "the signer lacks one of them")
		case twice || t.Keys[name] != "":
			return r.fail(n, "give each key a name of its own", "signer %s is declared again", short(name))
		}
		t.Signers[name] = s
		return r.publicKey(set["public"], s.Public)
	})
}

func (r *reader) groups(n ast.Node) (map[string][]string, error) {
	values, err := r.pairs(n, "groups")
	groups := make(map[string][]string, len(values))
	for _, v := range values {
		if err == nil {
			groups[v.Key.GetToken().Value], err = r.texts(v.Value, "a group")
		}
	}
	return groups, err
}

// activities reads the registered names of activities.
func (r *reader) activities(n ast.Node) (names []string, err error) {
	err = r.list(n, "required_activities", func(n ast.Node) error {
		name, err := r.text(n, "an activity")
		if err == nil && strings.TrimSpace(name) == "" {
			err = r.fail(n, "name it as the worker registers it", "an activity without a name")
		}
		names = append(names, strings.TrimSpace(name))
		return err
	})
	return names, err
}

// patterns reads patterns of gates, as path.Match has them.
func (r *reader) patterns(n ast.Node) (patterns []string, err error) {
	err = r.list(n, "unsigned_gates", func(n ast.Node) error {
		p, err := r.text(n, "a gate")
		if _, bad := path.Match(p, ""); err == nil && bad != nil {
			err = r.fail(n, "use names with * and ?, such as question or low-*", "the pattern %q is wrong", short(p))
		}
		patterns = append(patterns, p)
		return err
	})
	return patterns, err
}

// channels reads names such as slack://ops-channel.
func (r *reader) channels(n ast.Node) (names []string, err error) {
	err = r.list(n, "notify", func(n ast.Node) error {
		name, err := r.channelName(n)
		names = append(names, name)
		return err
	})
	return names, err
}

func (r *reader) channelName(n ast.Node) (string, error) {
	name, err := r.text(n, "a channel")
	if scheme, rest, ok := strings.Cut(name, "://"); err == nil && (!ok || scheme == "" || rest == "") {
		err = r.fail(n, "write SCHEME://NAME, such as slack://ops-channel", "the channel %q has no scheme", short(name))
	}
	return name, err
}

func (r *reader) policies(n ast.Node, p *Policies) error {
	_, err := r.mapping(n, "policies", r.textField("file", &p.File), r.textField("emergency", &p.Emergency))
	return err
}

func (r *reader) audit(n ast.Node, a *Audit) error {
	_, err := r.mapping(n, "audit", r.textField("checkpoints", &a.Checkpoints), r.textField("key", &a.Key))
	if err == nil && (a.Checkpoints == "") != (a.Key == "") {
		err = r.fail(n, "say where checkpoints are kept and which key signs them", "audit needs both checkpoints and key")
	}
	return err
}
