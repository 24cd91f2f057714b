package meter

import (
	"net/url"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go/internal/llm"
)

// region is the word for a vendor's region in a tier.
func region(geo string) string { return llm.Region(geo) }

// pick is the name under which an object has a field: the API takes the one with
// humps and the one with underscores. Both at once are refused.
func (f fields) pick(humps string) (string, error) {
	under := underscored(humps)
	if err := f.only(humps, under); err != nil {
		return "", err
	}
	switch {
	case f.has(humps) && f.has(under):
		return "", unmeterable("%s stands there twice", humps)
	case f.has(under):
		return under, nil
	}
	return humps, nil
}

func underscored(humps string) string {
	var b strings.Builder
	for _, r := range humps {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// readGenerateStream is readGenerate for an answer in pieces.
func readGenerateStream(a *ask, u *url.URL) error {
	a.stream = true
	return readGenerate(a, u)
}

// readGenerate reads Gemini's generateContent.
// https://ai.google.dev/api/generate-content
func readGenerate(a *ask, _ *url.URL) error {
	f := a.fields
	for _, step := range []func(fields) error{a.generation, a.geminiTools, a.geminiTexts} {
		if err := step(f); err != nil {
			return err
		}
	}
	key, err := f.pick("serviceTier")
	if err != nil {
		return err
	}
	return a.tier(key)
}

// generation reads what bounds the answer.
func (a *ask) generation(f fields) error {
	name, err := f.pick("generationConfig")
	if err != nil {
		return err
	}
	config, err := f.object(name)
	if err != nil {
		return err
	}
	limit, err := config.pick("maxOutputTokens")
	if err != nil {
		return err
	}
	many, err := config.pick("candidateCount")
	if err != nil {
		return err
	}
	n, err := config.count(many)
	if err != nil {
		return err
	}
	a.answers = max(1, n)
	kinds, err := config.pick("responseModalities")
	if err != nil {
		return err
	}
	if err := textOnly(config, kinds); err != nil {
		return err
	}
	if err := a.limit(config, []string{name}, limit); err != nil {
		return err
	}
	return config.noSpeech()
}

// noSpeech refuses answers that are spoken.
func (f fields) noSpeech() error {
	key, err := f.pick("speechConfig")
	if err == nil && f.has(key) {
		err = unmeterable("%s asks for speech, whose tokens have another price", key)
	}
	return err
}

// geminiTools lets through functions of the caller alone.
func (a *ask) geminiTools(f fields) error {
	if err := f.only("tools"); err != nil {
		return err
	}
	list, err := f.list("tools")
	if err != nil {
		return err
	}
	a.tools = len(list) > 0
	for _, tool := range list {
		for key := range tool {
			if key != "functionDeclarations" && key != "function_declarations" {
				return unmeterable("the tool %q is run and billed by the vendor", clip(key))
			}
			functions, err := tool.list(key)
			if err != nil {
				return err
			}
			a.extra += overheadPart * 2 * int64(len(functions))
		}
	}
	return nil
}

// geminiTexts reads the contents and what stands before them.
func (a *ask) geminiTexts(f fields) error {
	cached, err := f.pick("cachedContent")
	if err != nil {
		return err
	}
	if f.has(cached) {
		a.outside++
	}
	system, err := f.pick("systemInstruction")
	if err != nil {
		return err
	}
	if err := f.only("contents"); err != nil {
		return err
	}
	for _, key := range []string{"contents", system} {
		list, err := f.list(key)
		if err != nil {
			return err
		}
		for _, content := range list {
			if err := a.geminiParts(content); err != nil {
				return err
			}
		}
	}
	return nil
}

// geminiTextKeys are the keys of parts whose bytes bound them.
var geminiTextKeys = []string{
	"text", "thought", "thoughtSignature", "thought_signature", "functionCall", "function_call", "functionResponse", "function_response",
}

func (a *ask) geminiParts(content fields) error {
	parts, err := content.list("parts")
	if err != nil {
		return err
	}
	a.extra += overheadPart
	for _, part := range parts {
		for key := range part {
			if !slices.Contains(geminiTextKeys, key) {
				a.outside++
			}
			if key != "functionResponse" && key != "function_response" {
				continue
			}
			a.tools = true
			response, err := part.object(key)
			if err != nil {
				return err
			}
			if response.has("parts") {
				a.outside++
			}
		}
	}
	return nil
}

// readEmbedContent reads one text to embed, readEmbedContents a batch of them.
func readEmbedContent(a *ask, _ *url.URL) error { return a.embedded(a.fields) }

func readEmbedContents(a *ask, _ *url.URL) error {
	list, err := a.fields.list("requests")
	if err != nil {
		return err
	}
	for _, request := range list {
		if err := a.embedded(request); err != nil {
			return err
		}
	}
	return nil
}

func (a *ask) embedded(f fields) error {
	content, err := f.object("content")
	if err != nil {
		return err
	}
	return a.geminiParts(content)
}
