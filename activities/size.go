package activities

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// checkSize refuses a result whose JSON is over the limit, and names the field
// that is to blame. Temporal itself would retry such a result for ever, and pay
// for each try.
func checkSize(activity string, result any, limit int) error {
	if result == nil {
		return nil
	}
	size, err := jsonSize(result)
	if err != nil || size <= limit {
		// A result that cannot be encoded fails in the SDK, which says why.
		return nil //nolint:nilerr // see above
	}
	field, n := largestField(result)
	what := fmt.Sprintf("result of %s is %s, the limit is %s", activity, bytesText(size), bytesText(limit))
	if field != "" {
		what += fmt.Sprintf("; field %s holds %s", field, bytesText(n))
	}
	return &wflo.Error{
		Code: wflo.CodePayloadTooLarge, Message: what,
		Hint: "write large data to a file or a blob store and return a reference to it",
	}
}

func jsonSize(v any) (int, error) {
	switch b := v.(type) {
	case []byte:
		return len(b), nil
	case json.RawMessage:
		return len(b), nil
	}
	b, err := json.Marshal(v)
	return len(b), err
}

// largestField finds the exported field or map key with the largest JSON.
func largestField(v any) (name string, size int) {
	rv := reflect.Indirect(reflect.ValueOf(v))
	consider := func(field string, value any) {
		if n, err := jsonSize(value); err == nil && n > size {
			name, size = field, n
		}
	}
	switch rv.Kind() {
	case reflect.Struct:
		for i := range rv.NumField() {
			f := rv.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == "" {
				tag = f.Name
			}
			consider(tag, rv.Field(i).Interface())
		}
	case reflect.Map:
		for iter := rv.MapRange(); iter.Next(); {
			consider(fmt.Sprint(iter.Key()), iter.Value().Interface())
		}
	}
	return name, size
}

func bytesText(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
