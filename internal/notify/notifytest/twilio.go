package notifytest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"testing"
	"unicode/utf16"
)

// SMS is a text message.
type SMS struct{ From, To, Body string }

// Twilio is an account.
type Twilio struct {
	*Server
	account, user, secret string
	sent                  []SMS
}

// NewTwilio starts an account that takes this login.
func NewTwilio(t testing.TB, account, user, secret string) *Twilio {
	w := &Twilio{account: account, user: user, secret: secret}
	w.Server = begin(t, w.judge)
	return w
}

// Sent are the messages that were taken.
func (t *Twilio) Sent() []SMS {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.sent)
}

var e164 = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)

func (t *Twilio) judge(w http.ResponseWriter, r Request) {
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status, code int, message string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%d,"message":%q,"more_info":"https://www.twilio.com/docs/errors/%d","status":%d}`, code, message, code, status)
	}
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte(t.user+":"+t.secret))
	form, err := url.ParseQuery(r.Body)
	switch {
	case r.Method != http.MethodPost || r.Path != "/2010-04-01/Accounts/"+t.account+"/Messages.json" || err != nil:
		t.fail("%s %s", r.Method, r.Path)
		refuse(http.StatusNotFound, 20404, "The requested resource was not found")
	case r.Header.Get("Authorization") != login:
		refuse(http.StatusUnauthorized, 20003, "Authenticate with "+r.Header.Get("Authorization"))
	case r.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
		t.fail("no form")
		refuse(http.StatusBadRequest, 20001, "no form")
	case !e164.MatchString(form.Get("To")):
		refuse(http.StatusBadRequest, 21211, "The 'To' number is not a valid phone number: "+form.Get("To"))
	case form.Get("Body") == "" || len(utf16.Encode([]rune(form.Get("Body")))) > 1600:
		t.fail("a body of %d bytes", len(form.Get("Body")))
		refuse(http.StatusBadRequest, 21617, "The concatenated message body exceeds the 1600 character limit")
	case (form.Get("From") == "") == (form.Get("MessagingServiceSid") == ""):
		t.fail("no single sender")
		refuse(http.StatusBadRequest, 21603, "A 'From' phone number is required")
	default:
		t.mu.Lock()
		t.sent = append(t.sent, SMS{form.Get("From"), form.Get("To"), form.Get("Body")})
		t.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"sid":"SM00000000000000000000000000000001","status":"queued"}`)
	}
}
