package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/btcsuite/btcd/btcec"
	"golang.org/x/crypto/sha3"
)

var (
	// The node gave no answer: nobody knows whether it did what it was asked.
	errNodeUnreachable = errors.New("the node cannot be reached")
	// The node answered with an error.
	errNodeRefused = errors.New("the node refused")
)

// node is an Ethereum node over JSON-RPC.
type node struct {
	url    string
	client http.Client
}

func newNode(url string) *node {
	return &node{url: url, client: http.Client{Timeout: 20 * time.Second}}
}

func (n *node) ask(result interface{}, method string, params ...interface{}) error {
	if params == nil {
		params = []interface{}{}
	}
	body, err := json.Marshal(map[string]interface{}{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	response, err := n.client.Post(n.url, "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %v", errNodeUnreachable, err)
	}
	defer response.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%w: %v", errNodeUnreachable, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%w: %s", errNodeRefused, answer.Error.Message)
	}
	return json.Unmarshal(answer.Result, result)
}

func (n *node) quantity(method string, params ...interface{}) (*big.Int, error) {
	var text string
	if err := n.ask(&text, method, params...); err != nil {
		return nil, err
	}
	number, ok := new(big.Int).SetString(text, 0)
	if !ok {
		return nil, fmt.Errorf("%w: %s is no quantity", errNodeRefused, text)
	}
	return number, nil
}

func keccak256(data []byte) []byte {
	hash := sha3.NewLegacyKeccak256()
	hash.Write(data)
	return hash.Sum(nil)
}

// RLP of bytes; of an integer they are its big-endian bytes without leading zeros, as big.Int has them.
func rlpBytes(data []byte) []byte {
	if len(data) == 1 && data[0] < 0x80 {
		return data
	}
	return append(rlpPrefix(0x80, len(data)), data...)
}

func rlpList(items ...[]byte) []byte {
	content := bytes.Join(items, nil)
	return append(rlpPrefix(0xc0, len(content)), content...)
}

func rlpPrefix(base byte, length int) []byte {
	if length < 56 {
		return []byte{base + byte(length)}
	}
	size := big.NewInt(int64(length)).Bytes()
	return append([]byte{base + 55 + byte(len(size))}, size...)
}

// fields are the nine of an EIP-1559 transaction; a plain transfer has no data and no access list.
func fields(w *withdrawal) [][]byte {
	to, _ := hex.DecodeString(w.To[2:]) // checked when it was asked for
	numbers := []*big.Int{w.ChainID.Int, w.Nonce.Int, w.MaxPriorityFeePerGas.Int, w.MaxFeePerGas.Int, big.NewInt(21_000)}
	var items [][]byte
	for _, number := range numbers {
		items = append(items, rlpBytes(number.Bytes()))
	}
	return append(items, rlpBytes(to), rlpBytes(w.AmountWei.Bytes()), rlpBytes(nil), rlpList())
}

func unsigned(w *withdrawal) []byte {
	return append([]byte{2}, rlpList(fields(w)...)...)
}

// finish gives the signed transaction. r and s fit two keys: yParity is the one with which they give the key's own address back.
func finish(w *withdrawal, signature []byte) ([]byte, error) {
	for parity := byte(0); parity < 2; parity++ {
		compact := append([]byte{27 + parity}, signature...)
		key, _, err := btcec.RecoverCompact(btcec.S256(), compact, keccak256(unsigned(w)))
		if err != nil {
			continue
		}
		address := keccak256(key.SerializeUncompressed()[1:])[12:]
		if from, _ := hex.DecodeString(w.From[2:]); !bytes.Equal(address, from) {
			continue
		}
		items := fields(w)
		for _, number := range [][]byte{{parity}, signature[:32], signature[32:]} {
			items = append(items, rlpBytes(new(big.Int).SetBytes(number).Bytes()))
		}
		return append([]byte{2}, rlpList(items...)...), nil
	}
	return nil, errors.New("the signature is not of this address over this transaction")
}
