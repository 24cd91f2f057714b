package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// serveMetrics serves /metrics, and nothing else, on an address that other machines may
// reach, such as :9464: nobody logs in to a worker, so its API stays on the loopback
// interface, where Prometheus in another container cannot ask. What stands there are
// numbers with the names of workflows, models and task queues. An empty address serves
// nothing. Call stop in the end; it waits for requests in flight.
func serveMetrics(addr string, metrics http.Handler, logger *slog.Logger) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "use HOST:PORT or :PORT, and a port that is free", "serve metrics at WFLO_METRICS_LISTEN: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("serve metrics", "error", err.Error())
		}
	}()
	logger.Info("metrics are served", "address", listener.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}, nil
}
