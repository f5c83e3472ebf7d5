package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"log"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

const stageTimeout = 20 * time.Second

var (
	waitsForNobody = &refused{http.StatusConflict, "not-open", "This withdrawal does not wait for the user."}
	notStaged      = &refused{http.StatusServiceUnavailable, "hsm", "It could not be staged. The withdrawal is kept; try again."}
)

// What is answered for a word of the command line's. All others that are not the HSM's own state are ours to mend.
var stageRefusals = map[string]*refused{
	"policy-refused":      denied,
	"limit-exceeded":      denied,
	"account-frozen":      locked,
	"locked":              locked,
	"account-over-budget": locked,
	"tenant-over-budget":  locked,
	"try-later":           locked,
	"too-many-intents":    {http.StatusTooManyRequests, "too-many", "Too much waits on the user's device. Let him approve or decline some of it, then stage this again."},
	"no-device":           {http.StatusConflict, "no-device", "The user has no device that could approve. Ask him for a code."},
	"busy":                notStaged,
}

// stage gives the transaction to the HSM for the user to approve on his device.
func (s *service) stage(w *withdrawal) (*withdrawal, error) {
	if w.State != "open" {
		return nil, waitsForNobody
	}
	// Others are served while the command runs.
	s.lock.Unlock()
	intent, err := runStage(s.cli, s.label, unsigned(w))
	s.lock.Lock()
	w = s.all[w.ID]
	if w.State != "open" {
		return nil, waitsForNobody
	}
	if err != nil {
		return nil, s.refused(w, err)
	}
	changed := *w
	changed.Intent = intent
	return s.save(changed)
}

func runStage(cli, label string, transaction []byte) (string, error) {
	limit, cancel := context.WithTimeout(context.Background(), stageTimeout)
	defer cancel()
	command := exec.CommandContext(limit, cli, "intent", "stage", "--json", "--key", label, "--ethereum", "-")
	command.Stdin = strings.NewReader(hex.EncodeToString(transaction))
	output, err := command.Output()
	var answer struct{ Intent, Refused string }
	if json.Unmarshal(output, &answer) == nil && err == nil && answer.Intent != "" {
		return answer.Intent, nil
	}
	log.Printf("staging: %s (%v)", answer.Refused, err)
	// 3: refused. 4, or no end in time: the HSM does not serve.
	const refusedIt, unreachable = 3, 4
	code := command.ProcessState.ExitCode()
	if r := stageRefusals[answer.Refused]; r != nil && code == refusedIt {
		return "", r
	}
	if code == unreachable || limit.Err() != nil {
		return "", notStaged
	}
	return "", &refused{http.StatusInternalServerError, "internal", "This is ours to mend."}
}
