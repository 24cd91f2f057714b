package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// Begin implements auth.Redirects.
func (l *Login) Begin(w http.ResponseWriter, r *http.Request, back string) error {
	p, err := l.provider(r.Context())
	if err != nil {
		return l.unavailable(r.Context(), "discovery", err)
	}
	login := pending{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Back: auth.LocalPath(back), Expires: l.cfg.Now().Add(loginTime)}
	sealed, err := l.seal.seal(login)
	if err != nil {
		return fmt.Errorf("seal a login: %w", err)
	}
	http.SetCookie(w, l.cookie(sealed, int(loginTime/time.Second)))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, p.oauth.AuthCodeURL(login.State, gooidc.Nonce(login.Nonce), oauth2.S256ChallengeOption(login.Verifier)), http.StatusFound)
	return nil
}

// Finish implements auth.Redirects. A login that is not good is an *wflo.Error that
// matches auth.ErrRefused, one without a role auth.ErrNoRole, and one that could
// not be checked auth.ErrUnavailable. It writes headers, and no answer.
func (l *Login) Finish(w http.ResponseWriter, r *http.Request) (wflo.Identity, string, error) {
	ctx := r.Context()
	// Whatever comes of it, the login that the cookie holds is over.
	http.SetCookie(w, l.cookie("", -1))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	login, err := l.pending(r)
	if err != nil {
		return wflo.Identity{}, "", l.refuse(ctx, "not a login of this browser", err)
	}
	p, err := l.provider(ctx)
	if err != nil {
		return wflo.Identity{}, "", l.unavailable(ctx, "discovery", err)
	}
	code, err := l.code(r.URL.Query(), p)
	if err != nil {
		return wflo.Identity{}, "", l.refuse(ctx, "the provider sent no code", err)
	}
	ctx = gooidc.ClientContext(ctx, l.client)
	token, err := p.oauth.Exchange(ctx, code, oauth2.VerifierOption(login.Verifier))
	if err != nil {
		if faulty(err) {
			return wflo.Identity{}, "", l.refuse(ctx, "the provider does not take the code", answerOf(err))
		}
		return wflo.Identity{}, "", l.unavailable(ctx, "exchange of the code", answerOf(err))
	}
	id, err := l.identity(ctx, p, token, login.Nonce)
	return id, login.Back, err
}

// pending finds the login that the browser is in: its cookie and the state in the
// address must belong together, in time, and once.
func (l *Login) pending(r *http.Request) (pending, error) {
	cookies := r.CookiesNamed(l.cookieName())
	if len(cookies) != 1 {
		return pending{}, fmt.Errorf("it has %d cookies of a login", len(cookies))
	}
	login, err := l.seal.open(cookies[0].Value)
	if err != nil {
		return pending{}, err
	}
	if !l.cfg.Now().Before(login.Expires) {
		return pending{}, errors.New("the login took more than 10 minutes")
	}
	state, err := single(r.URL.Query(), "state")
	if err != nil {
		return pending{}, err
	}
	if subtle.ConstantTimeCompare([]byte(state), []byte(login.State)) != 1 {
		return pending{}, errors.New("the state is of another login")
	}
	if !l.used.first(login.State) {
		return pending{}, errors.New("the login was finished before")
	}
	return login, nil
}

// single gives the one value of a parameter: of two, a proxy or the provider might
// have looked at the other one.
func single(query url.Values, name string) (string, error) {
	if values := query[name]; len(values) == 1 && values[0] != "" {
		return values[0], nil
	}
	return "", fmt.Errorf("the address has not one %s", name)
}

func (l *Login) code(query url.Values, p *provider) (string, error) {
	// By RFC 9207 the answer names its issuer, so that no provider can pass off the
	// code of another.
	if p.names || query.Has("iss") {
		if issuer, err := single(query, "iss"); err != nil || issuer != l.cfg.Issuer {
			return "", errors.New("the answer is of another issuer")
		}
	}
	if query.Has("error") {
		return "", fmt.Errorf("it says %.80q", query.Get("error"))
	}
	return single(query, "code")
}

// identity checks what the provider gave for the code.
func (l *Login) identity(ctx context.Context, p *provider, token *oauth2.Token, nonce string) (wflo.Identity, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return wflo.Identity{}, l.refuse(ctx, "the provider sent no ID token", nil)
	}
	idToken, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return wflo.Identity{}, l.refuse(ctx, "the ID token is not valid", err)
	}
	if nonce == "" || subtle.ConstantTimeCompare([]byte(idToken.Nonce), []byte(nonce)) != 1 {
		return wflo.Identity{}, l.refuse(ctx, "the ID token is of another login", nil)
	}
	claims, err := l.claims(idToken, []string{l.cfg.ClientID})
	if err != nil {
		return wflo.Identity{}, l.refuse(ctx, "the ID token is not for us", err)
	}
	if idToken.AccessTokenHash != "" {
		if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
			return wflo.Identity{}, l.refuse(ctx, "the access token is not that of the ID token", err)
		}
	}
	if l.cfg.UserInfo {
		if err := l.askUserInfo(ctx, p, token, claims); err != nil {
			return wflo.Identity{}, err
		}
	}
	return l.mapped(ctx, claims)
}

// claims checks what the library leaves to its callers, and reads the rest.
func (l *Login) claims(t *gooidc.IDToken, audiences []string) (map[string]any, error) {
	claims := map[string]any{}
	if err := t.Claims(&claims); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(audiences, a) }) {
		return nil, errors.New("it is for another audience")
	}
	azp, named := claims["azp"]
	party, _ := azp.(string)
	if (named || len(t.Audience) > 1) && !slices.Contains(audiences, party) {
		return nil, errors.New("it was given to another party")
	}
	if t.Subject == "" {
		return nil, errors.New("it names nobody")
	}
	if t.IssuedAt.IsZero() || t.IssuedAt.After(l.cfg.Now().Add(l.cfg.Skew)) {
		return nil, errors.New("it is from the future")
	}
	return claims, nil
}

// askUserInfo adds what the endpoint says to the claims. Those of the token, which
// are signed, stand above.
func (l *Login) askUserInfo(ctx context.Context, p *provider, token *oauth2.Token, claims map[string]any) error {
	info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return l.unavailable(ctx, "userinfo", answerOf(err))
	}
	// A token of somebody else may have been slipped in (OpenID Connect Core 5.3.2).
	if info.Subject != claims["sub"] {
		return l.refuse(ctx, "userinfo is of somebody else", nil)
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return l.unavailable(ctx, "userinfo", err)
	}
	// An address and whether it is verified belong together.
	if _, ok := claims["email"]; ok {
		delete(more, "email_verified")
	}
	for name, value := range more {
		if _, ok := claims[name]; !ok {
			claims[name] = value
		}
	}
	return nil
}

func (l *Login) mapped(ctx context.Context, claims map[string]any) (wflo.Identity, error) {
	person, verified := l.cfg.Claims.person(claims)
	if !verified {
		return wflo.Identity{}, l.refuse(ctx, "the provider did not verify the address", nil)
	}
	id, err := l.cfg.Mapping.Identity(person, Method, l.cfg.Now())
	if err != nil {
		l.cfg.Logger.WarnContext(ctx, "OIDC login refused", "issuer", l.cfg.Issuer, "subject", clip(person.Subject), "reason", err.Error())
	}
	return id, err
}

// words are the errors of RFC 6749 and 6750 that a provider may answer with.
var words = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"access_denied", "server_error", "temporarily_unavailable", "invalid_token", "insufficient_scope",
}

// answerOf keeps what a provider answers out of errors: it may hold tokens, or repeat the
// code and the secret that it was sent.
func answerOf(err error) error {
	var answer *oauth2.RetrieveError
	switch {
	case !errors.As(err, &answer):
		return err
	case slices.Contains(words, answer.ErrorCode):
		return fmt.Errorf("it says %q", answer.ErrorCode)
	case answer.Response != nil:
		return fmt.Errorf("it answers with status %d, and no word of the standard", answer.Response.StatusCode)
	}
	return errors.New("it answers with no word of the standard")
}

// Bearer gives an Authenticator for programs that present ID tokens for one of the
// audiences, which are not the console's client ID: a token that a browser got
// there must not open the API. A bearer token that is not a JWT is auth.ErrNone.
func (l *Login) Bearer(audiences ...string) (auth.Authenticator, error) {
	if len(audiences) == 0 || slices.Contains(audiences, l.cfg.ClientID) || slices.Contains(audiences, "") {
		return nil, wflo.Invalid("oidc: audiences", "are empty, or have the console's own client", "register a client of its own for programs")
	}
	return bearer{l, audiences}, nil
}

type bearer struct {
	login     *Login
	audiences []string
}

func (b bearer) Authenticate(r *http.Request) (wflo.Identity, error) {
	l, ctx := b.login, r.Context()
	raw, err := auth.BearerToken(r.Header)
	if errors.Is(err, auth.ErrNone) || err == nil && strings.Count(raw, ".") != 2 {
		return wflo.Identity{}, auth.ErrNone
	}
	if err != nil {
		return wflo.Identity{}, l.refuse(ctx, "the header is malformed", nil)
	}
	p, err := l.provider(ctx)
	if err != nil {
		return wflo.Identity{}, l.unavailable(ctx, "discovery", err)
	}
	token, err := p.verifier.Verify(gooidc.ClientContext(ctx, l.client), raw)
	if err != nil {
		return wflo.Identity{}, l.refuse(ctx, "the bearer token is not valid", err)
	}
	claims, err := l.claims(token, b.audiences)
	if err != nil {
		return wflo.Identity{}, l.refuse(ctx, "the bearer token is not for us", err)
	}
	return l.mapped(ctx, claims)
}
