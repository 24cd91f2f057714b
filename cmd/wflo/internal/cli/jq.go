package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/itchyny/gojq"

	"github.com/wflo-ai/wflo-go"
)

// compileFilter understands what --jq says. It may not read files, variables or the
// environment: where the data came from a run, nothing else gets mixed in.
func compileFilter(expr string) (*gojq.Code, error) {
	query, err := gojq.Parse(expr)
	if err == nil {
		var code *gojq.Code
		if code, err = gojq.Compile(query); err == nil {
			return code, nil
		}
	}
	return nil, Usage("such as --jq .id; see https://jqlang.org/manual/", "--jq %q: %s", expr, err)
}

// printFiltered writes each result of --jq on a line: text as it is, but for characters
// that hide something, and everything else as JSON on one line.
func (a *app) printFiltered(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	in, err := jqValue(data)
	if err != nil {
		return err
	}
	results := a.filter.Run(in)
	for {
		result, more := results.Next()
		if !more {
			return nil
		}
		if err, failed := result.(error); failed {
			var halt *gojq.HaltError
			if errors.As(err, &halt) && halt.Value() == nil {
				return nil // the expression ended it on purpose
			}
			return wflo.Errorf("", "see what there is with -o json", "--jq: %w", err)
		}
		if err := a.printOne(result); err != nil {
			return err
		}
	}
}

func (a *app) printOne(result any) error {
	if text, ok := result.(string); ok {
		_, err := fmt.Fprintln(a.deps.Stdout, Escape(text))
		return err
	}
	data, err := gojq.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = a.deps.Stdout.Write(append(escapeJSON(data), '\n'))
	return err
}

// jqValue reads JSON as jq has it. Whole numbers stay whole, however large: money and
// times in nanoseconds do not fit a float.
func jqValue(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	return wholeNumbers(v), nil
}

func wholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = wholeNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = wholeNumbers(e)
		}
	case json.Number:
		if n, ok := new(big.Int).SetString(v.String(), 10); ok {
			if n.IsInt64() {
				return int(n.Int64())
			}
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	}
	return v
}
