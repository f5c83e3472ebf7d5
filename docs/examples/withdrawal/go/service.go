// A withdrawal service: the page README.md beside it says what it answers and how it is run.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

// number is an integer that is a string in JSON, whose numbers are too short for wei.
type number struct{ *big.Int }

func (n number) MarshalJSON() ([]byte, error) { return json.Marshal(n.String()) }

func (n *number) UnmarshalJSON(text []byte) error {
	n.Int = new(big.Int)
	return n.Int.UnmarshalText(bytes.Trim(text, `"`))
}

type withdrawal struct {
	ID                   string `json:"id"`
	State                string `json:"state"` // open, signed, sent; denied, cancelled
	From                 string `json:"from"`
	To                   string `json:"to"`
	AmountWei            number `json:"amount_wei"`
	ChainID              number `json:"chain_id"`
	Nonce                number `json:"nonce"`
	MaxPriorityFeePerGas number `json:"max_priority_fee_per_gas"`
	MaxFeePerGas         number `json:"max_fee_per_gas"`
	Intent               string `json:"intent,omitempty"`
	Raw                  string `json:"raw,omitempty"`
	Hash                 string `json:"hash,omitempty"`
}

// service has the withdrawals of one key, each a file. One is under way at a time, since two would ask for the same nonce.
type service struct {
	lock               sync.Mutex
	signer             *signer
	node               *node
	folder, cli, label string
	all                map[string]*withdrawal
}

func (s *service) load() error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(s.folder, "*.json"))
	for _, file := range files {
		var w withdrawal
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &w)
		}
		if err != nil {
			return err
		}
		s.all[w.ID] = &w
	}
	return err
}

// save makes it durable before anybody is told.
func (s *service) save(w *withdrawal) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	path := filepath.Join(s.folder, w.ID+".json")
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Write(data); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		s.all[w.ID] = w
	}
	return err
}

type asked struct {
	To        string `json:"to"`
	AmountWei string `json:"amount_wei"`
	Code      string `json:"code"`
}

var (
	isAddress = regexp.MustCompile("^0x[0-9a-fA-F]{40}$").MatchString
	isAmount  = regexp.MustCompile("^[1-9][0-9]{0,77}$").MatchString
	isCode    = regexp.MustCompile("^([0-9]{6}|[0-9]{8})$").MatchString
)

func (s *service) request(a asked) (*withdrawal, error) {
	amount, _ := new(big.Int).SetString(a.AmountWei, 10)
	if !isAddress(a.To) {
		return nil, &refused{http.StatusBadRequest, "request", "`to` is an address."}
	}
	if !isAmount(a.AmountWei) || amount.BitLen() > 256 {
		return nil, &refused{http.StatusBadRequest, "request", "`amount_wei` is a whole number of wei, as a string."}
	}
	for _, w := range s.all {
		if w.State == "open" || w.State == "signed" {
			return nil, &refused{http.StatusConflict, "under-way", "Another withdrawal is under way. Finish or cancel it first."}
		}
	}
	from, err := s.signer.address()
	if err != nil {
		return nil, err
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	w := &withdrawal{ID: hex.EncodeToString(id[:]), State: "open", From: from, To: a.To, AmountWei: number{amount}}
	if err := s.price(w); err != nil {
		return nil, err
	}
	return w, s.save(w)
}

// price asks the node for chain, nonce and fees.
func (s *service) price(w *withdrawal) (err error) {
	if w.ChainID.Int, err = s.node.quantity("eth_chainId"); err != nil {
		return err
	}
	if w.Nonce.Int, err = s.node.quantity("eth_getTransactionCount", w.From, "pending"); err != nil {
		return err
	}
	if w.MaxPriorityFeePerGas.Int, err = s.node.quantity("eth_maxPriorityFeePerGas"); err != nil {
		return err
	}
	var block struct{ BaseFeePerGas string }
	if err = s.node.ask(&block, "eth_getBlockByNumber", "latest", false); err != nil {
		return err
	}
	base, ok := new(big.Int).SetString(block.BaseFeePerGas, 0)
	if !ok {
		return errNodeRefused
	}
	w.MaxFeePerGas.Int = base.Lsh(base, 1).Add(base, w.MaxPriorityFeePerGas.Int)
	return nil
}

// finish signs under the user's code, or, without one, what he approved on his device; and broadcasts.
func (s *service) finish(w *withdrawal, code string) error {
	if w.State != "open" {
		return &refused{http.StatusConflict, "not-open", "This withdrawal does not wait for the user."}
	}
	signature, err := s.signer.sign(unsigned(w), code)
	if err == refusals[pkcs11.CKR_FUNCTION_REJECTED] {
		w.State = "denied"
		if err := s.save(w); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	raw, err := finish(w, signature)
	if err != nil {
		return err
	}
	w.State, w.Raw, w.Hash = "signed", "0x"+hex.EncodeToString(raw), "0x"+hex.EncodeToString(keccak256(raw))
	if err := s.save(w); err != nil {
		return err
	}
	return s.broadcast(w)
}

// broadcast may be repeated: the same transaction is sent, and one that is there already is as good as sent.
func (s *service) broadcast(w *withdrawal) error {
	if w.State != "signed" && w.State != "sent" {
		return &refused{http.StatusConflict, "not-signed", "This withdrawal is not signed."}
	}
	var found interface{}
	err := s.node.ask(&found, "eth_sendRawTransaction", w.Raw)
	if why := err; errors.Is(err, errNodeRefused) {
		if err = s.node.ask(&found, "eth_getTransactionByHash", w.Hash); err == nil && found == nil {
			return &refused{http.StatusBadGateway, "node", fmt.Sprintf("The transaction is kept: %v.", why)}
		}
	}
	if err != nil {
		return &refused{http.StatusBadGateway, "node", "The node cannot be reached. The signed transaction is kept; broadcast it again."}
	}
	w.State = "sent"
	return s.save(w)
}

// stage gives the transaction to the HSM for the user to approve on his device.
func (s *service) stage(w *withdrawal) error {
	if w.State != "open" {
		return &refused{http.StatusConflict, "not-open", "This withdrawal does not wait for the user."}
	}
	command := exec.Command(s.cli, "intent", "stage", "--json", "--key", s.label, "--ethereum", "-")
	command.Stdin = bytes.NewReader([]byte(hex.EncodeToString(unsigned(w))))
	output, err := command.Output()
	var answer struct{ Intent, Refused string }
	if decoded := json.Unmarshal(output, &answer); decoded != nil || answer.Intent == "" {
		log.Printf("staging: %s (%v)", answer.Refused, err)
		return &refused{http.StatusServiceUnavailable, "hsm", "It could not be staged. The withdrawal is kept."}
	}
	w.Intent = answer.Intent
	return s.save(w)
}

func (s *service) answer(method string, path []string, a asked) (int, *withdrawal, error) {
	if method == "POST" && len(path) == 1 && path[0] == "withdrawals" {
		w, err := s.request(a)
		return http.StatusCreated, w, err
	}
	if len(path) < 2 || len(path) > 3 || path[0] != "withdrawals" || s.all[path[1]] == nil {
		return 0, nil, &refused{http.StatusNotFound, "unknown", "There is no such withdrawal."}
	}
	w := s.all[path[1]]
	switch what := method + " " + strings.Join(path[2:], ""); what {
	case "GET ":
		return http.StatusOK, w, nil
	case "DELETE ":
		if w.State != "open" {
			return 0, nil, &refused{http.StatusConflict, "not-open", "What is signed cannot be cancelled."}
		}
		w.State = "cancelled"
		return http.StatusOK, w, s.save(w)
	case "POST code":
		if !isCode(a.Code) {
			return 0, nil, notACode
		}
		return http.StatusOK, w, s.finish(w, a.Code)
	case "POST broadcast":
		return http.StatusOK, w, s.broadcast(w)
	case "POST stage":
		return http.StatusOK, w, s.stage(w)
	case "POST approved":
		return http.StatusOK, w, s.finish(w, "")
	}
	return 0, nil, &refused{http.StatusNotFound, "unknown", "There is nothing here."}
}

func (s *service) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	var a asked
	body, err := io.ReadAll(io.LimitReader(in.Body, 10_000))
	s.lock.Lock() // one request after the other
	defer s.lock.Unlock()
	if err == nil && len(body) > 0 && json.Unmarshal(body, &a) != nil {
		err = &refused{http.StatusBadRequest, "request", "The body is not JSON of the right form."}
	}
	var status int
	var w *withdrawal
	if err == nil {
		status, w, err = s.answer(in.Method, strings.Split(strings.Trim(in.URL.Path, "/"), "/"), a)
	}
	var answer interface{} = w
	if err != nil {
		var r *refused
		if !errors.As(err, &r) {
			r = &refused{http.StatusInternalServerError, "internal", "This is ours to mend."}
			if errors.Is(err, errNodeUnreachable) || errors.Is(err, errNodeRefused) {
				r = &refused{http.StatusBadGateway, "node", "The node did not answer. Nothing was begun."}
			}
			log.Print(err)
		}
		status, answer = r.status, map[string]string{"error": r.word, "message": r.sentence}
	}
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	json.NewEncoder(out).Encode(answer)
}

func main() {
	label := os.Getenv("KEY")
	signer, err := newSigner(os.Getenv("MODULE"), os.Getenv("COUNTERSIGN_API_KEY"), label)
	if err != nil {
		log.Fatal(err)
	}
	s := &service{
		signer: signer, node: newNode(os.Getenv("NODE_URL")), folder: os.Getenv("STORE"), cli: os.Getenv("CLI"),
		label: label, all: map[string]*withdrawal{},
	}
	if err := s.load(); err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, s))
}
