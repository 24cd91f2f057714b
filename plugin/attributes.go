package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
)

// SearchAttributes are those that wflo sets on runs, with their types: what a
// namespace needs. A worker adds them where it may.
func SearchAttributes() map[string]enumspb.IndexedValueType {
	return map[string]enumspb.IndexedValueType{
		wflo.AttrState:     enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		wflo.AttrGates:     enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST,
		wflo.AttrUser:      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		wflo.AttrTeam:      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		wflo.AttrCost:      enumspb.INDEXED_VALUE_TYPE_DOUBLE,
		wflo.AttrOrg:       enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		wflo.AttrRisk:      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		wflo.AttrApprovers: enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST,
		wflo.AttrDeadline:  enumspb.INDEXED_VALUE_TYPE_DATETIME,
	}
}

// ensureAttributes adds the search attributes that the namespace lacks: a run
// that sets an unknown one would never get anywhere. Where they are there already
// it needs no right to manage the namespace, which hosted ones do not give.
func ensureAttributes(ctx context.Context, c client.Client, namespace string) error {
	if knowsAttributes(ctx, c, namespace) == nil {
		return nil
	}
	if err := addAttributes(ctx, c, namespace); err != nil {
		return wflo.Errorf(wflo.CodeInvalid,
			"create them with temporal operator search-attribute create, or set plugin.Config.NoSearchAttributes",
			"namespace %s lacks search attributes (%s), and they cannot be added: %w", namespace, strings.Join(names(), ", "), err)
	}
	return awaitAttributes(ctx, c, namespace)
}

func names() []string { return slices.Sorted(maps.Keys(SearchAttributes())) }

// knowsAttributes asks a question that uses all of them.
func knowsAttributes(ctx context.Context, c client.Client, namespace string) error {
	_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Namespace: namespace, Query: strings.Join(names(), " IS NULL AND ") + " IS NULL",
	})
	return err
}

func addAttributes(ctx context.Context, c client.Client, namespace string) error {
	op := c.OperatorService()
	have, err := op.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return err
	}
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range SearchAttributes() {
		if _, ok := have.GetCustomAttributes()[name]; !ok {
			missing[name] = kind
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = op.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	return err
}

// awaitAttributes waits until the server takes new attributes: it reads them
// from a cache of some seconds, and refuses runs that set them before.
func awaitAttributes(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := knowsAttributes(ctx, c, namespace)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the search attributes of %s: %w", namespace, err)
		case <-tick.C:
		}
	}
}
