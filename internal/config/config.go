// Package config reads a worker's configuration file: which budgets there are,
// how calls are routed, what the response cache keeps, who may use the gateway,
// how calls of other SDKs are metered, whose decisions count at approval gates,
// which policies there are, where notices go, who may use the console, where
// snapshots are kept, which log lines, and what seals payloads. [Load] reads a file, [Parse] what is in one already.
//
// The file is YAML in a strict dialect. A field that is not known, a value of
// another type, a field that is set twice and a budget that is declared twice are
// errors with file, line and column, because a limit that silently does not hold
// costs money. Amounts are quoted text, because YAML's numbers are rounded.
// Aliases, tags and several documents are refused.
//
// The file never holds a secret, and what it holds by mistake is not repeated in
// errors: values are shown only for fields that cannot be one.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// MaxSize is the largest file, in bytes.
const MaxSize = 256 << 10

// File is a configuration as it was written, checked. A field that is zero was
// not set.
type File struct {
	Budgets []wflo.Budget
	Routes  []activities.Route
	Cache   Cache
	// Estimates is how the size of a prompt is bounded before the call.
	Estimates Estimates
	Gateway   Gateway
	Meter     Meter
	Approvals Approvals
	Policies  Policies
	Audit     Audit
	// Channels are where notices go, by name.
	Channels map[string]Channel
	Console  Console
	// Snapshots says where snapshots of runs are kept.
	Snapshots Snapshots
	// Logs says which log lines of runs are kept.
	Logs Logs
	// Payloads says how what Temporal keeps of runs is sealed.
	Payloads Payloads
}

// Meter says how calls are accounted for that the worker does not write itself:
// those of the gateway, and of SDKs in a worker's own activities.
type Meter struct {
	// Hosts names the provider in the price book by the host of a server, with
	// the port where its URL has one.
	Hosts map[string]string
	// Models names the model in the price book by the name that requests use.
	Models map[string]string
	// Allow are paths that pass without being metered.
	Allow []string
	// OutsideTokens is reserved for each image, file and earlier response; zero
	// refuses them.
	OutsideTokens int64
}

// Estimates is a way to bound the size of prompts.
type Estimates string

// The ways: by bytes, so that nothing is ever overdrawn, or by what like calls
// were billed.
const (
	EstimatesStrict  Estimates = "strict"
	EstimatesLearned Estimates = "learned"
)

// ParseEstimates reads one of the ways.
func ParseEstimates(text string) (Estimates, error) {
	switch e := Estimates(text); e {
	case EstimatesStrict, EstimatesLearned:
		return e, nil
	}
	return "", fmt.Errorf("estimates is %q: want strict or learned", text)
}

// Cache is the response cache.
type Cache struct {
	// TTL is how long answers are kept; zero means no cache.
	TTL time.Duration
	// Redis is the URL of a Redis server that all workers share, without a
	// password; empty means the worker's memory.
	Redis string
}

// Gateway is the OpenAI-compatible endpoint.
type Gateway struct {
	Keys []GatewayKey
}

// GatewayKey is a key that clients of the gateway present, and for whom its calls
// are made.
type GatewayKey struct {
	// Name is what logs call the key.
	Name string
	// Env is the environment variable that holds the key, File the file; one of
	// them is set.
	Env, File string
	// User, Team, Org, Agent and Tags pay for what is done with the key.
	User, Team, Org, Agent string
	Tags                   map[string]string
	// Budget is what each run of the key may spend; zero means no limit.
	Budget wflo.Money
}

// Run is for whom calls with the key are made.
func (k GatewayKey) Run() wflo.Run {
	return wflo.Run{User: k.User, Team: k.Team, Org: k.Org, Agent: k.Agent, Tags: k.Tags, Budget: wflo.Budget{Limit: k.Budget}}
}

// Load reads a file.
func Load(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, wflo.Errorf(wflo.CodeInvalid, "name a readable file", "read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return File{}, wflo.Errorf(wflo.CodeInvalid, "name a readable file", "read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration; name stands for the file in errors, which are
// *wflo.Error with CodeInvalid.
func Parse(name string, data []byte) (file File, err error) {
	r := newReader(name, data)
	if len(data) > MaxSize {
		return File{}, wflo.Errorf(wflo.CodeInvalid, "split it among workers", "%s is larger than %d bytes", name, MaxSize)
	}
	defer func() {
		// The parser is not ours; text that it cannot cope with is not a reason to
		// take the worker down without a word.
		if p := recover(); p != nil {
			file, err = File{}, wflo.Errorf(wflo.CodeInvalid, "write it as plain block YAML", "%s cannot be parsed", name)
		}
	}()
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return File{}, r.syntax(err)
	}
	body, err := r.only(tree)
	if body == nil || err != nil {
		return File{}, err
	}
	if err := r.file(body, &file); err != nil {
		return File{}, err
	}
	return file, nil
}

// only is the body of the file's single document, or nil when it is empty.
func (r *reader) only(tree *ast.File) (ast.Node, error) {
	var body ast.Node
	for _, doc := range tree.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType:
		case body != nil:
			return nil, r.fail(doc.Body, "keep one document per file", "a second document begins")
		default:
			body = doc.Body
		}
	}
	return body, nil
}

// syntax turns an error of the parser into ours.
func (r *reader) syntax(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		p := at.GetToken().Position
		return r.failAt(p.Line, p.Column, "", "%s", plain(at.GetMessage()))
	}
	return wflo.Errorf(wflo.CodeInvalid, "write it as plain block YAML", "%s is not YAML", r.name)
}
