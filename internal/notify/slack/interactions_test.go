package slack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The example of Slack's documentation, "Verifying requests from Slack".
const (
	docSecret    = "8f742231b10e8888abcd99yyyzzz85a5"
	docTime      = "1531420618"
	docBody      = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	docSignature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
)

func signed(secret, at, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", at, body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

func TestVerify(t *testing.T) {
	at := time.Unix(1531420618, 0)
	header := func(stamp, signature string) http.Header {
		return http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {signature}}
	}
	twice := header(docTime, docSignature)
	twice.Add("X-Slack-Signature", docSignature)
	for _, c := range []struct {
		name, secret string
		header       http.Header
		body         string
		now          time.Time
		ok           bool
	}{
		{"the example of the documentation", docSecret, header(docTime, docSignature), docBody, at, true},
		{"five minutes old", docSecret, header(docTime, docSignature), docBody, at.Add(5 * time.Minute), true},
		{"older", docSecret, header(docTime, docSignature), docBody, at.Add(5*time.Minute + time.Second), false},
		{"from the future", docSecret, header(docTime, docSignature), docBody, at.Add(-5*time.Minute - time.Second), false},
		{"another body", docSecret, header(docTime, docSignature), docBody + "&x=1", at, false},
		{"another secret", docSecret + "x", header(docTime, docSignature), docBody, at, false},
		{"another time", docSecret, header("1531420619", docSignature), docBody, at, false},
		{"no secret", "", header(docTime, signed("", docTime, docBody)), docBody, at, false},
		{"no header", docSecret, http.Header{}, docBody, at, false},
		{"two signatures", docSecret, twice, docBody, at, false},
		{"another version", docSecret, header(docTime, "v1"+docSignature[2:]), docBody, at, false},
		{"no hex", docSecret, header(docTime, "v0=zz"), docBody, at, false},
		{"empty", docSecret, header(docTime, "v0="), docBody, at, false},
		{"half", docSecret, header(docTime, docSignature[:35]), docBody, at, false},
		{"time with a sign", docSecret, header("+"+docTime, signed(docSecret, "+"+docTime, docBody)), docBody, at, false},
		{"time of overflow", docSecret, header("-9223372036854775808", signed(docSecret, "-9223372036854775808", docBody)), docBody, at, false},
	} {
		err := Verify(c.secret, c.header, []byte(c.body), c.now)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func click(change func(map[string]any)) []byte {
	value, _ := json.Marshal(button{Nonce: "n", Digest: "d"})
	action := map[string]any{"action_id": actionApprove, "type": "button", "value": string(value)}
	p := map[string]any{
		"type": "block_actions", "user": map[string]any{"id": "U1", "team_id": "T1"}, "team": map[string]any{"id": "T1"},
		"trigger_id": "1.2.x", "response_url": "https://hooks.slack.com/actions/T1/1/x", "actions": []any{action}, "api_app_id": "A1",
	}
	if change != nil {
		change(p)
	}
	data, _ := json.Marshal(p)
	return []byte(url.Values{"payload": {string(data)}}.Encode())
}

func withAction(k string, v any) []byte {
	return click(func(p map[string]any) { p["actions"].([]any)[0].(map[string]any)[k] = v })
}

func TestParseInteraction(t *testing.T) {
	want := Interaction{
		User: "U1", TeamID: "T1", Nonce: "n", Digest: "d", Verdict: wflo.VerdictApprove,
		ResponseURL: "https://hooks.slack.com/actions/T1/1/x", TriggerID: "1.2.x",
	}
	if got, err := ParseInteraction(click(nil)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseInteraction(withAction("action_id", actionReject)); err != nil || got.Verdict != wflo.VerdictReject {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseInteraction(withAction("action_id", actionOpen)); err != nil || got.Verdict != "" || got.Nonce != "" {
		t.Errorf("%+v, %v", got, err)
	}
	two := func(p map[string]any) { p["actions"] = append(p["actions"].([]any), p["actions"].([]any)[0]) }
	for name, body := range map[string][]byte{
		"nothing":          nil,
		"no payload":       []byte("x=1"),
		"two payloads":     append(click(nil), append([]byte("&"), click(nil)...)...),
		"no JSON":          []byte("payload=%7B"),
		"another kind":     click(func(p map[string]any) { p["type"] = "view_submission" }),
		"no user":          click(func(p map[string]any) { p["user"] = map[string]any{} }),
		"a user's name":    click(func(p map[string]any) { p["user"] = map[string]any{"id": "alice", "team_id": "T1"} }),
		"no team":          click(func(p map[string]any) { p["team"], p["user"] = nil, map[string]any{"id": "U1"} }),
		"two clicks":       click(two),
		"no click":         click(func(p map[string]any) { p["actions"] = nil }),
		"another button":   withAction("action_id", "delete_all"),
		"no button":        withAction("type", "static_select"),
		"no value":         withAction("value", ""),
		"value of others":  withAction("value", `{"nonce":"n","digest":"d","verdict":"approve"}`),
		"value of two":     withAction("value", `{"nonce":"n","digest":"d"}{}`),
		"value without":    withAction("value", `{"nonce":"n"}`),
		"value too long":   withAction("value", `{"nonce":"`+strings.Repeat("n", maxValue)+`","digest":"d"}`),
		"larger than ever": []byte(strings.Repeat("x", MaxInteraction+1)),
	} {
		if got, err := ParseInteraction(body); !errors.Is(err, wflo.ErrInvalid) || got.Verdict != "" && got.Nonce != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(docTime, docSignature, docBody)
	f.Add("", "v0=", "")
	f.Fuzz(func(t *testing.T, stamp, signature, body string) {
		h := http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {signature}}
		err := Verify(docSecret, h, []byte(body), time.Unix(1531420618, 0))
		if err == nil && !strings.EqualFold(signature, signed(docSecret, stamp, body)) {
			t.Fatalf("%q over %q is taken", signature, body)
		}
	})
}

func FuzzParseInteraction(f *testing.F) {
	f.Add(click(nil))
	f.Add(withAction("action_id", actionOpen))
	f.Add([]byte("payload=%7B%7D"))
	f.Fuzz(func(t *testing.T, body []byte) {
		i, err := ParseInteraction(body)
		if err != nil {
			return
		}
		decides := i.Verdict == wflo.VerdictApprove || i.Verdict == wflo.VerdictReject
		if i.User == "" || i.TeamID == "" || decides != (i.Nonce != "" && i.Digest != "") || !decides && i.Verdict != "" {
			t.Fatalf("%q is read as %+v", body, i)
		}
	})
}
