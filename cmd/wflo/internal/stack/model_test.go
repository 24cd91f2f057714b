//go:build integration

package stack

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// probe is what the agent runs in its sandbox: it looks for everything that the stack has.
const probe = `
import socket
found = []
for name in ["postgres", "temporal", "redis", "minio", "console", "worker", "model"]:
    try:
        found.append(name + "=" + socket.gethostbyname(name))
    except OSError:
        pass
for address in ["%s"]:
    for port in [5432, 7233, 6379, 9000, 7244, 22]:
        try:
            socket.create_connection((address, port), timeout=1).close()
            found.append("%%s:%%d" %% (address, port))
        except OSError:
            pass
import os
print("squares", sum(n * n for n in range(100)), "reached", found, "socket", os.path.exists("/var/run/docker.sock"))
`

// question is what the agent asks people.
const question = "Which colour shall the report have?"

// message is one of a conversation, as far as the model reads it.
type message struct {
	Role    string `json:"role"`
	Content any    `json:"content"`
}

// serveModel answers as OpenAI's API does, with a script: run the probe, ask a person, and
// say what came of both. It prints who asked and what came
// of the tools, turn by turn.
func serveModel(addr string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []message `json:"messages"`
			Stream   bool      `json:"stream"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var results []string
		for _, m := range in.Messages {
			if m.Role == "tool" {
				results = append(results, fmt.Sprint(m.Content))
			}
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Printf("turn %d of %s: %q\n", len(results), host, results)
		answer(w, in.Stream, results)
	})
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	fmt.Println("the model listens on", addr)
	return server.ListenAndServe()
}

// answer sends the next turn, whole or as one event of a stream.
func answer(w http.ResponseWriter, stream bool, results []string) {
	turn, reason := map[string]any{"role": "assistant"}, "tool_calls"
	call := func(name string, arguments map[string]string) {
		data, _ := json.Marshal(arguments)
		turn["tool_calls"] = []any{map[string]any{
			"index": 0, "id": fmt.Sprint("call_", len(results)), "type": "function", "function": map[string]string{"name": name, "arguments": string(data)},
		}}
	}
	switch len(results) {
	case 0:
		call("run_python", map[string]string{"code": fmt.Sprintf(probe, gateway())})
	case 1:
		call("ask_human", map[string]string{"question": question})
	default:
		turn["content"], reason = "Done. "+strings.Join(results, " | "), "stop"
	}
	usage := map[string]int{"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
	body := map[string]any{"id": "c", "object": "chat.completion", "model": "gpt-5.4-mini", "usage": usage}
	if !stream {
		body["choices"] = []any{map[string]any{"index": 0, "message": turn, "finish_reason": reason}}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
		return
	}
	body["object"] = "chat.completion.chunk"
	body["choices"] = []any{map[string]any{"index": 0, "delta": turn, "finish_reason": reason}}
	data, _ := json.Marshal(body)
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: %s\n\ndata: [DONE]\n\n", data)
}

// gateway is an address of the engine's machine, as containers of the stack have it.
func gateway() string {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			ip := n.IP.Mask(n.Mask).To4()
			ip[3]++
			return ip.String()
		}
	}
	return "172.17.0.1"
}
