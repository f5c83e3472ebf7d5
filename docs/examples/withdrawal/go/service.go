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
	"path/filepath"
	"regexp"
	"strings"
	"sync"
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
	chainID, maxFee    *big.Int
	all                map[string]*withdrawal // what is saved; nothing in it is changed, only replaced
}

func (s *service) load() error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(filepath.Clean(s.folder))); err != nil {
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

// syncFolder makes a new name in a folder outlive a power cut; syncing the file does not.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// save takes a changed copy. It is durable before anybody is told and before anything here goes by it.
func (s *service) save(w withdrawal) (*withdrawal, error) {
	data, err := json.Marshal(&w)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.folder, w.ID)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err = file.Write(data); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path+".json")
	}
	if err == nil {
		err = syncFolder(s.folder)
	}
	if err != nil {
		return nil, err
	}
	s.all[w.ID] = &w
	return &w, nil
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
	w := withdrawal{ID: hex.EncodeToString(id[:]), State: "open", From: from, To: a.To, AmountWei: number{amount}}
	if err := s.price(&w); err != nil {
		return nil, err
	}
	if w.Nonce.Int, err = s.nextNonce(from); err != nil {
		return nil, err
	}
	return s.save(w)
}

// price asks the node for chain and fees. A node may lie, so both have bounds.
func (s *service) price(w *withdrawal) (err error) {
	if w.ChainID.Int, err = s.node.quantity("eth_chainId"); err != nil {
		return err
	}
	if w.ChainID.Cmp(s.chainID) != 0 {
		return &refused{http.StatusBadGateway, "node", "The node serves another chain. Nothing was begun."}
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
	isNegative := base.Sign() < 0 || w.MaxPriorityFeePerGas.Sign() < 0
	w.MaxFeePerGas.Int = base.Lsh(base, 1).Add(base, w.MaxPriorityFeePerGas.Int)
	if isNegative || w.MaxFeePerGas.Cmp(s.maxFee) > 0 {
		return &refused{http.StatusBadGateway, "node", "The node asks for a higher fee than is allowed here. Nothing was begun."}
	}
	return nil
}

// nextNonce does not ask the node alone: with a nonce that it forgot, another withdrawal would take the place of what was sent.
func (s *service) nextNonce(from string) (*big.Int, error) {
	next, err := s.node.quantity("eth_getTransactionCount", from, "pending")
	if err != nil {
		return nil, err
	}
	for _, w := range s.all {
		isOut := w.State == "signed" || w.State == "sent"
		if isOut && w.From == from && w.ChainID.Cmp(s.chainID) == 0 && w.Nonce.Cmp(next) >= 0 {
			next = new(big.Int).Add(w.Nonce.Int, big.NewInt(1))
		}
	}
	return next, nil
}

// refused closes the withdrawal where policy denied it, durably, before anybody is told why.
func (s *service) refused(w *withdrawal, why error) error {
	if why == denied {
		changed := *w
		changed.State = "denied"
		if _, err := s.save(changed); err != nil {
			return err
		}
	}
	return why
}

// finish signs under the user's code, or, without one, what he approved on his device; and broadcasts.
func (s *service) finish(w *withdrawal, code string) (*withdrawal, error) {
	if w.State != "open" {
		return nil, waitsForNobody
	}
	changed := *w
	signature, err := s.signer.sign(unsigned(w), code)
	if err != nil {
		return nil, s.refused(w, err)
	}
	raw, err := finish(w, signature)
	if err != nil {
		return nil, err
	}
	changed.State, changed.Raw, changed.Hash = "signed", "0x"+hex.EncodeToString(raw), "0x"+hex.EncodeToString(keccak256(raw))
	signed, err := s.save(changed)
	if err != nil {
		return nil, err
	}
	return s.broadcast(signed)
}

// broadcast may be repeated: the same transaction is sent, and one that is there already is as good as sent.
func (s *service) broadcast(w *withdrawal) (*withdrawal, error) {
	if w.State != "signed" && w.State != "sent" {
		return nil, &refused{http.StatusConflict, "not-signed", "This withdrawal is not signed."}
	}
	var found interface{}
	err := s.node.ask(&found, "eth_sendRawTransaction", w.Raw)
	if why := err; errors.Is(err, errNodeRefused) {
		if err = s.node.ask(&found, "eth_getTransactionByHash", w.Hash); err == nil && found == nil {
			return nil, &refused{http.StatusBadGateway, "node", fmt.Sprintf("The transaction is kept: %v.", why)}
		}
	}
	if err != nil {
		return nil, &refused{http.StatusBadGateway, "node", "The node cannot be reached. The signed transaction is kept; broadcast it again."}
	}
	changed := *w
	changed.State = "sent"
	return s.save(changed)
}

func (s *service) cancel(w *withdrawal) (*withdrawal, error) {
	if w.State != "open" {
		return nil, &refused{http.StatusConflict, "not-open", "What is signed cannot be cancelled."}
	}
	changed := *w
	changed.State = "cancelled"
	return s.save(changed)
}

func (s *service) answer(method string, path []string, a asked) (status int, w *withdrawal, err error) {
	if method == "POST" && len(path) == 1 && path[0] == "withdrawals" {
		w, err = s.request(a)
		return http.StatusCreated, w, err
	}
	if len(path) < 2 || len(path) > 3 || path[0] != "withdrawals" || s.all[path[1]] == nil {
		return 0, nil, &refused{http.StatusNotFound, "unknown", "There is no such withdrawal."}
	}
	w = s.all[path[1]]
	switch what := method + " " + strings.Join(path[2:], ""); what {
	case "GET ":
	case "DELETE ":
		w, err = s.cancel(w)
	case "POST code":
		if !isCode(a.Code) {
			return 0, nil, notACode
		}
		w, err = s.finish(w, a.Code)
	case "POST broadcast":
		w, err = s.broadcast(w)
	case "POST stage":
		w, err = s.stage(w)
	case "POST approved":
		w, err = s.finish(w, "")
	default:
		err = &refused{http.StatusNotFound, "unknown", "There is nothing here."}
	}
	return http.StatusOK, w, err
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

// whole reads a whole number from the environment.
func whole(name, otherwise string) *big.Int {
	text := os.Getenv(name)
	if text == "" {
		text = otherwise
	}
	value, ok := new(big.Int).SetString(text, 10)
	if !ok {
		log.Fatalf("%s is %q and not a whole number", name, text)
	}
	return value
}

func main() {
	label := os.Getenv("KEY")
	signer, err := newSigner(os.Getenv("MODULE"), os.Getenv("COUNTERSIGN_API_KEY"), label)
	if err != nil {
		log.Fatal(err)
	}
	s := &service{
		signer: signer, node: newNode(os.Getenv("NODE_URL")), folder: os.Getenv("STORE"), cli: os.Getenv("CLI"),
		label: label, chainID: whole("CHAIN_ID", ""), all: map[string]*withdrawal{},
	}
	s.maxFee = new(big.Int).Mul(whole("MAX_FEE_GWEI", "300"), big.NewInt(1_000_000_000))
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
