package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go/plugin"
)

// ClockQueue is a task queue that nobody uses, and by which Temporal's clock is read.
const ClockQueue = "wflo-doctor-clock"

// mostSkew is how far clocks may be apart. Decisions and their expiry are judged by
// minutes, and budgets by the second of a window's end.
const mostSkew = 5 * time.Second

func (p *patient) reach(ctx context.Context) []Finding {
	c, err := p.temporal()
	if err != nil {
		return failed(err, "wflo dev")
	}
	_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: c.Namespace})
	var missing *serviceerror.NamespaceNotFound
	switch {
	case errors.As(err, &missing):
		return fault("temporal operator namespace create --address "+c.Address+" "+c.Namespace, "Temporal at %s has no namespace %s", c.Address, c.Namespace)
	case err != nil:
		return failed(err, "temporal operator cluster health --address "+c.Address)
	}
	return fine("%s, namespace %s", c.Address, c.Namespace)
}

func (p *patient) attributes(ctx context.Context) []Finding {
	c, err := p.temporal()
	if err != nil {
		return unasked("temporal")
	}
	have, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: c.Namespace})
	if err != nil {
		// Hosted namespaces do not let their users ask, and workers try by themselves.
		return absent("Temporal does not say which there are")
	}
	wanted := plugin.SearchAttributes()
	var missing []string
	command := "temporal operator search-attribute create --address " + c.Address + " --namespace " + c.Namespace
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if kind, ok := have.GetCustomAttributes()[name]; !ok || kind != wanted[name] {
			missing = append(missing, name)
			command += " --name " + name + " --type " + wanted[name].String()
		}
	}
	if len(missing) > 0 {
		return fault(command, "namespace %s lacks %s", c.Namespace, strings.Join(missing, ", "))
	}
	return fine("%d of %d", len(wanted), len(wanted))
}

func (p *patient) worker(ctx context.Context) []Finding {
	c, err := p.temporal()
	if err != nil {
		return unasked("temporal")
	}
	var lacking []string
	var pollers []string
	for _, kind := range []enumspb.TaskQueueType{enumspb.TASK_QUEUE_TYPE_WORKFLOW, enumspb.TASK_QUEUE_TYPE_ACTIVITY} {
		d, err := c.DescribeTaskQueue(ctx, p.TaskQueue, kind)
		if err != nil {
			return failed(fmt.Errorf("ask for task queue %s: %w", p.TaskQueue, err), "wflo doctor --check temporal")
		}
		if len(d.GetPollers()) == 0 {
			lacking = append(lacking, strings.ToLower(kind.String()))
		}
		for _, w := range d.GetPollers() {
			pollers = append(pollers, w.GetIdentity())
		}
	}
	if len(lacking) > 0 {
		return fault("wflo dev", "no worker takes %s tasks from task queue %s at %s", strings.Join(lacking, " or "), p.TaskQueue, c.Address)
	}
	slices.Sort(pollers)
	return fine("task queue %s: %s", p.TaskQueue, strings.Join(slices.Compact(pollers), ", "))
}

// clock reads Temporal's clock: a poll of a queue that nobody uses leaves the time at
// which the server took it. Answers have no time of their own.
func (p *patient) clock(ctx context.Context) []Finding {
	c, err := p.temporal()
	if err != nil {
		return unasked("temporal")
	}
	before := p.Now()
	identity := fmt.Sprint("wflo-doctor@", before.UnixNano())
	poll, cancel := context.WithTimeout(ctx, pollTime)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		// What it answers does not matter: it is cancelled once the server lists it.
		_, _ = c.WorkflowService().PollActivityTaskQueue(poll, &workflowservice.PollActivityTaskQueueRequest{
			Namespace: c.Namespace, Identity: identity,
			TaskQueue: &taskqueuepb.TaskQueue{Name: ClockQueue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL},
		})
	}()
	defer func() { cancel(); <-polled }()
	for {
		d, err := c.DescribeTaskQueue(poll, ClockQueue, enumspb.TASK_QUEUE_TYPE_ACTIVITY)
		if err != nil {
			return absent("Temporal's clock cannot be read: %v", err)
		}
		for _, w := range d.GetPollers() {
			if w.GetIdentity() == identity {
				return skewFound(w.GetLastAccessTime().AsTime(), before, p.Now())
			}
		}
		select {
		case <-poll.Done():
			return absent("Temporal's clock cannot be read: it does not list who polls")
		case <-time.After(lookAgain):
		}
	}
}

// pollTime is longer than the shortest poll that servers take, lookAgain how soon after
// one is begun it is looked for.
const (
	pollTime  = 10 * time.Second
	lookAgain = 20 * time.Millisecond
)

// skewFound compares the server's time with the two of ours that it lies between.
func skewFound(server, before, after time.Time) []Finding {
	skew, way := time.Duration(0), "behind"
	switch {
	case server.Before(before):
		skew, way = before.Sub(server), "ahead of"
	case server.After(after):
		skew = server.Sub(after)
	}
	if skew > mostSkew {
		return fault("timedatectl set-ntp true", "this machine's clock is %s %s Temporal's", skew.Round(time.Second), way)
	}
	return fine("at most %s apart", max(skew, after.Sub(before)).Round(time.Millisecond))
}

// health is for containers, which have no key: that requests are answered at all.
func (p *patient) health(ctx context.Context) []Finding {
	if p.Health == nil {
		return absent("nobody asks here")
	}
	if err := p.Health(ctx); err != nil {
		return failed(err, "start the worker with WFLO_LISTEN, or wflo console")
	}
	return fine("it is well")
}

func (p *patient) api(ctx context.Context) []Finding {
	if err := p.API(ctx); err != nil {
		return failed(err, "wflo dev")
	}
	return fine("it answers")
}
