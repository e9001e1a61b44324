package witness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentcustody/custody/signer"
)

// typeSize is the media type of an answer that names a size.
const typeSize = "text/x.tlog.size"

// Limits of the server: a request is a few kilobytes and costs one signature and one synced file.
const (
	readPatience = 10 * time.Second
	idlePatience = 5 * time.Minute
	maxHeader    = 16 << 10
)

// originOf is the first line of a note.
func originOf(note []byte) (string, error) {
	line, _, found := bytes.Cut(note, []byte("\n"))
	if !found || len(line) == 0 {
		return "", fmt.Errorf("no origin: %w", ErrRequest)
	}
	return string(line), nil
}

// Server returns an HTTP server of the witness, with limits for callers that nobody knows.
func (w *Witness) Server() *http.Server {
	return &http.Server{
		Handler: w, ReadTimeout: readPatience, WriteTimeout: readPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(w.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP answers POST …/add-checkpoint.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	mux.ServeHTTP(rw, r)
}

func (w *Witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, int64(maxRequest)))
	if err != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	request, err := ParseRequest(body)
	var line []byte
	if err == nil {
		line, err = w.Add(request)
	}
	if err != nil {
		w.refuse(rw, r, err)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = rw.Write(line) // a log that is gone asks again
}

// refuse says why. What may be proof that a log has two histories is kept in the witness's own record.
func (w *Witness) refuse(rw http.ResponseWriter, r *http.Request, err error) {
	status, stale := statusOf(err), (*StaleError)(nil)
	w.cfg.Log.WarnContext(r.Context(), "refused a checkpoint", slog.Int("status", status), slog.Any("error", err))
	if errors.As(err, &stale) {
		rw.Header().Set("Content-Type", typeSize)
		rw.WriteHeader(status)
		fmt.Fprintf(rw, "%d\n", stale.Size)
		return
	}
	rw.WriteHeader(status)
}

func statusOf(err error) int {
	var stale *StaleError
	switch {
	case errors.Is(err, ErrUnknownLog):
		return http.StatusNotFound
	case errors.Is(err, ErrLogSignature):
		return http.StatusForbidden
	case errors.As(err, &stale), errors.Is(err, ErrFork):
		return http.StatusConflict
	case errors.Is(err, ErrInconsistent):
		return http.StatusUnprocessableEntity
	case errors.Is(err, ErrRequest), errors.Is(err, ErrOldSize), errors.Is(err, signer.ErrNote):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
