package envelope

import (
	"context"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// Converter reads payloads that did not come over a connection of ours, such as those of a
// history in a file, and says clearly what is wrong with one that could not be opened on
// the way. It seals nothing; nil as parent means the default. In workflow code it
// panics instead of giving an error, so that the task fails and not the run.
func (c *Codec) Converter(parent converter.DataConverter) converter.DataConverter {
	if parent == nil {
		parent = converter.GetDefaultDataConverter()
	}
	if r, ok := parent.(*reading); ok {
		parent = r.DataConverter
	}
	return &reading{DataConverter: parent, codec: c}
}

type reading struct {
	converter.DataConverter
	codec      *Codec
	inWorkflow bool
}

var _ converter.ContextAware = (*reading)(nil)

// FromPayload opens and decodes one.
func (r *reading) FromPayload(p *commonpb.Payload, into any) error {
	opened, err := r.open(p)
	if err != nil {
		return err
	}
	return r.DataConverter.FromPayload(opened, into)
}

// FromPayloads opens and decodes several.
func (r *reading) FromPayloads(all *commonpb.Payloads, into ...any) error {
	opened, err := r.openAll(all)
	if err != nil {
		return err
	}
	return r.DataConverter.FromPayloads(opened, into...)
}

// ToString shows one to people, or why it cannot be shown.
func (r *reading) ToString(p *commonpb.Payload) string {
	opened, err := r.codec.openSealed(p)
	if err != nil {
		return err.Error()
	}
	return r.DataConverter.ToString(opened)
}

// ToStrings shows several.
func (r *reading) ToStrings(all *commonpb.Payloads) []string {
	shown := make([]string, 0, len(all.GetPayloads()))
	for _, p := range all.GetPayloads() {
		shown = append(shown, r.ToString(p))
	}
	return shown
}

func (r *reading) openAll(all *commonpb.Payloads) (*commonpb.Payloads, error) {
	if all == nil {
		return nil, nil //nolint:nilnil // as it was given
	}
	opened := &commonpb.Payloads{Payloads: make([]*commonpb.Payload, len(all.GetPayloads()))}
	for i, p := range all.GetPayloads() {
		var err error
		if opened.Payloads[i], err = r.open(p); err != nil {
			return nil, err
		}
	}
	return opened, nil
}

func (r *reading) open(p *commonpb.Payload) (*commonpb.Payload, error) {
	opened, err := r.codec.openSealed(p)
	if err != nil && r.inWorkflow {
		panic(err) // an error would end the run, see the SDK's PayloadCodec
	}
	return opened, err
}

// openSealed leaves alone what is not sealed: here it was opened, or checked, before.
func (c *Codec) openSealed(p *commonpb.Payload) (*commonpb.Payload, error) {
	if !Sealed(p) {
		return p, nil
	}
	return c.open(p)
}

// WithWorkflowContext is for workflow code.
func (r *reading) WithWorkflowContext(ctx converter.WorkflowContext) converter.DataConverter {
	own := *r
	own.inWorkflow = true
	if aware, ok := own.DataConverter.(converter.ContextAware); ok {
		own.DataConverter = aware.WithWorkflowContext(ctx)
	}
	return &own
}

// WithContext is for clients and activities.
func (r *reading) WithContext(ctx context.Context) converter.DataConverter {
	aware, ok := r.DataConverter.(converter.ContextAware)
	if !ok {
		return r
	}
	own := *r
	own.DataConverter = aware.WithContext(ctx)
	return &own
}

// WithSerializationContext lets a user's converter know what it works on.
func (r *reading) WithSerializationContext(ctx converter.SerializationContext) converter.DataConverter {
	aware, ok := r.DataConverter.(converter.DataConverterWithSerializationContext)
	if !ok {
		return r
	}
	own := *r
	own.DataConverter = aware.WithSerializationContext(ctx)
	return &own
}
