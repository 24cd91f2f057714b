package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	commonpb "go.temporal.io/api/common/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
)

// errKept says that a payload is kept where this program does not reach.
var errKept = errors.New("the content is kept in a store that is not reached from here")

// What marks a payload that stands for one in a store; see the SDK's external storage.
const (
	referenceType   = "temporal.api.sdk.v1.ExternalStorageReference"
	referenceLegacy = "json/external-storage-reference"
)

// reader reads payloads, those in stores too.
type reader struct {
	conv    converter.DataConverter
	drivers map[string]converter.StorageDriver
}

func newReader(cfg Config) reader {
	r := reader{conv: cfg.Converter, drivers: map[string]converter.StorageDriver{}}
	for _, d := range cfg.Storage {
		r.drivers[d.Name()] = d
	}
	return r
}

// elsewhere says that a payload is in a store, and history has a reference only.
func elsewhere(p *commonpb.Payload) bool {
	meta := p.GetMetadata()
	return string(meta["encoding"]) == referenceLegacy || string(meta["messageType"]) == referenceType
}

// size is how large a payload is, in bytes, wherever it is.
func size(p *commonpb.Payload) int64 {
	if !elsewhere(p) {
		return int64(len(p.GetData()))
	}
	var n int64
	for _, e := range p.GetExternalPayloads() {
		n += e.GetSizeBytes()
	}
	return n
}

// fetch gives the payload itself.
func (r reader) fetch(ctx context.Context, p *commonpb.Payload) (*commonpb.Payload, error) {
	if !elsewhere(p) {
		return p, nil
	}
	driver, claim, err := reference(p)
	if err != nil {
		return nil, err
	}
	d := r.drivers[driver]
	if d == nil {
		return nil, errKept
	}
	got, err := d.Retrieve(converter.StorageDriverRetrieveContext{Context: ctx}, []converter.StorageDriverClaim{claim})
	if err != nil {
		return nil, fmt.Errorf("fetch payload: %w", err)
	}
	if len(got) != 1 {
		return nil, fmt.Errorf("fetch payload: the store gave %d", len(got))
	}
	return got[0], nil
}

func reference(p *commonpb.Payload) (driver string, claim converter.StorageDriverClaim, err error) {
	if string(p.GetMetadata()["encoding"]) == referenceLegacy {
		var old struct {
			DriverName  string                       `json:"driver_name"`
			DriverClaim converter.StorageDriverClaim `json:"driver_claim"`
		}
		if err := json.Unmarshal(p.GetData(), &old); err != nil {
			return "", claim, fmt.Errorf("read the reference of a payload: %w", err)
		}
		return old.DriverName, old.DriverClaim, nil
	}
	var ref sdkpb.ExternalStorageReference
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(p.GetData(), &ref); err != nil {
		return "", claim, fmt.Errorf("read the reference of a payload: %w", err)
	}
	return ref.GetDriverName(), converter.StorageDriverClaim{ClaimData: ref.GetClaimData()}, nil
}

// into reads a payload into what out points to. A payload that is not there leaves it.
func (r reader) into(ctx context.Context, p *commonpb.Payload, out any) error {
	if p == nil {
		return nil
	}
	p, err := r.fetch(ctx, p)
	if err != nil {
		return err
	}
	return r.conv.FromPayload(p, out)
}

// near is into for payloads that are in the history itself and small: what is larger
// waits until somebody looks at its row.
func (r reader) near(p *commonpb.Payload, out any) bool {
	return p != nil && !elsewhere(p) && len(p.GetData()) <= MostDetail && r.conv.FromPayload(p, out) == nil
}

func first(p *commonpb.Payloads) *commonpb.Payload {
	if len(p.GetPayloads()) == 0 {
		return nil
	}
	return p.GetPayloads()[0]
}

// plain is a payload as text: JSON as it is, text and bytes as they are.
func (r reader) plain(ctx context.Context, p *commonpb.Payload) (string, error) {
	p, err := r.fetch(ctx, p)
	if err != nil {
		return "", err
	}
	var raw json.RawMessage
	if err := r.conv.FromPayload(p, &raw); err == nil && json.Valid(raw) {
		return string(raw), nil
	}
	var data []byte
	if err := r.conv.FromPayload(p, &data); err == nil {
		return string(data), nil
	}
	// Another encoding: the converter knows a text for it.
	return r.conv.ToString(p), nil
}

// whole are payloads as one text: the one, or a JSON array of several.
func (r reader) whole(ctx context.Context, all *commonpb.Payloads) (string, error) {
	var parts []string
	for _, p := range all.GetPayloads() {
		text, err := r.plain(ctx, p)
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	for i, text := range parts {
		if !json.Valid([]byte(text)) {
			quoted, err := json.Marshal(text)
			if err != nil {
				return "", fmt.Errorf("quote a payload: %w", err)
			}
			parts[i] = string(quoted)
		}
	}
	return "[" + strings.Join(parts, ",") + "]", nil
}

// content is the head of what payloads hold; nil where there are none.
func (r reader) content(ctx context.Context, all *commonpb.Payloads) (*Content, error) {
	if len(all.GetPayloads()) == 0 {
		return nil, nil //nolint:nilnil // nothing was given
	}
	text, err := r.whole(ctx, all)
	if err != nil {
		var n int64
		for _, p := range all.GetPayloads() {
			n += size(p)
		}
		return &Content{Size: n, Cut: true}, err
	}
	return headOf(text), nil
}

// headOf cuts text to MostDetail, between characters.
func headOf(text string) *Content {
	c := &Content{Text: text, Size: int64(len(text))}
	if len(text) > MostDetail {
		n := MostDetail
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		c.Text, c.Cut = strings.Clone(text[:n]), true
	}
	return c
}

// mostWords bounds a line of a row, in bytes.
const mostWords = 300

// line is the first line of text, bounded.
func line(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if len(text) <= mostWords {
		return text
	}
	n := mostWords
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.Clone(text[:n]) + "..."
}
