package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Every command that changes something gets a person's yes first, in two steps:
// canAsk before anything is read or sent, so that a script fails at once, and
// confirm when the person has seen what it is about. --yes answers both.

// canAsk refuses a change that nobody could confirm. look says where to see what
// it is about; it may be empty.
func (a *app) canAsk(yes bool, look ...string) error {
	if yes || a.interactive() {
		return nil
	}
	return Usage(strings.Join(append(look, "add --yes"), ", then "), "there is no terminal to ask on")
}

// confirmChange asks whether to make a change through the API, unless yes was said.
// The question names who the API will write down.
func (a *app) confirmChange(ctx context.Context, c *api, yes bool, what string) error {
	if yes {
		return nil
	}
	who := userName()
	if c.token != "" {
		var known wflo.Identity
		if err := c.get(ctx, "/whoami", nil, &known); err != nil {
			return err
		}
		who = known.Subject
	}
	return a.confirmAs(yes, what, who, "nothing was changed")
}

// confirmAs asks whether somebody wants to do what is said, unless yes was said.
// otherwise is what to say when they do not.
func (a *app) confirmAs(yes bool, what, who, otherwise string) error {
	if yes {
		return nil
	}
	return a.confirm(fmt.Sprintf("%s%s as %s?", strings.ToUpper(what[:1]), escapeLine(what[1:]), escapeLine(who)), otherwise)
}

// confirm asks on the terminal; anything but yes is a refusal, and otherwise
// says what that means.
func (a *app) confirm(question, otherwise string) error {
	fmt.Fprintf(a.deps.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.deps.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &exitError{ExitDenied, &wflo.Error{Message: otherwise, Err: errNotConfirmed}}
}

// errNotConfirmed says that a person was asked and did not say yes.
var errNotConfirmed = errors.New("not confirmed")
