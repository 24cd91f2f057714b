package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"

	"github.com/wflo-ai/wflo-go"
)

// hosted is a server that lets nobody manage its namespaces.
type hosted struct {
	client.Client
	operatorservice.OperatorServiceClient
	knows bool
}

func (h *hosted) CountWorkflow(_ context.Context, r *workflowservice.CountWorkflowExecutionsRequest) (*workflowservice.CountWorkflowExecutionsResponse, error) {
	for name := range SearchAttributes() {
		if !strings.Contains(r.GetQuery(), name+" IS NULL") {
			return nil, errors.New("the question does not use " + name)
		}
	}
	if !h.knows {
		return nil, errors.New("no mapping defined for search attribute")
	}
	return &workflowservice.CountWorkflowExecutionsResponse{}, nil
}

func (h *hosted) OperatorService() operatorservice.OperatorServiceClient { return h }

func (h *hosted) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest, ...grpc.CallOption) (*operatorservice.ListSearchAttributesResponse, error) {
	return nil, errors.New("permission denied")
}

func TestAttributesOfAHostedNamespace(t *testing.T) {
	if err := ensureAttributes(context.Background(), &hosted{knows: true}, "prod"); err != nil {
		t.Errorf("a namespace that has them: %v", err)
	}
	err := ensureAttributes(context.Background(), &hosted{}, "prod")
	if !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), wflo.AttrGates) || !strings.Contains(wflo.HintOf(err), "search-attribute create") {
		t.Errorf("a namespace that lacks them: %v", err)
	}
}
