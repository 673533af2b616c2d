// Pushes orders into a queue of sluice: push QUEUE < orders.jsonl
//
// One JSON object a line. An order without an id gets one, so that a push whose answer got lost can be repeated; give the queue
// `mode = ignore` and a unique key, and the second one changes nothing. What Redis has not acknowledged within PUSH_SECONDS (60)
// goes to stdout, and the exit status is 1: nothing is lost, run it again with that. REDIS_URL says where Redis is.
//
// Needs redigo: apt-get install golang-go golang-github-gomodule-redigo-dev
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Time does not heal these: a wrong key, a wrong login, a missing right.
var final = regexp.MustCompile(`^(WRONGTYPE|NOAUTH|WRONGPASS|NOPERM)`)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// The order with an id; its other bytes stay as they are, so that 12.10 remains 12.10.
func withID(line string) (string, error) {
	var order map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &order); err != nil {
		return "", err
	}
	if _, there := order["id"]; there {
		return line, nil
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", err
	}
	rest, comma := strings.TrimLeft(line[1:], " \t"), ", "
	if rest[0] == '}' {
		comma = ""
	}
	return fmt.Sprintf(`{"id": "%x"%s%s`, id, comma, rest), nil
}

type producer struct {
	url   string
	limit time.Duration
	conn  redis.Conn // nil: none is open
}

// One attempt; a connection that failed is not used again.
func (p *producer) attempt(queue, order string) (err error) {
	if p.conn == nil {
		second := 5 * time.Second
		p.conn, err = redis.DialURL(p.url, redis.DialConnectTimeout(second), redis.DialReadTimeout(second), redis.DialWriteTimeout(second))
		if err != nil {
			p.conn = nil
			return err
		}
	}
	_, err = redis.Int(p.conn.Do("LPUSH", queue, order))
	if err != nil {
		p.conn.Close()
		p.conn = nil
	}
	return err
}

// Returns nil when Redis has answered, else what stood in the way all the time. OOM, LOADING and broken connections pass.
func (p *producer) push(queue, order string) error {
	deadline := time.Now().Add(p.limit)
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		if wait > 5*time.Second {
			wait = 5 * time.Second
		}
		err := p.attempt(queue, order)
		if err == nil || final.MatchString(err.Error()) || time.Now().Add(wait).After(deadline) {
			return err
		}
		fmt.Fprintln(os.Stderr, "not acknowledged, trying again:", err)
		time.Sleep(wait/2 + time.Duration(mathrand.Int63n(int64(wait/2)))) // or all producers come back at once
	}
}

func main() {
	seconds, err := strconv.ParseFloat(setting("PUSH_SECONDS", "60"), 64)
	if err != nil || len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: push QUEUE < orders.jsonl")
		os.Exit(64)
	}
	mathrand.Seed(time.Now().UnixNano())
	p := producer{url: setting("REDIS_URL", "redis://127.0.0.1:6379"), limit: time.Duration(seconds * float64(time.Second))}
	failed := false
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20) // max_item_bytes
	for lines.Scan() {
		order, err := withID(strings.TrimSpace(lines.Text()))
		if err != nil {
			fmt.Fprintln(os.Stderr, "no JSON object:", err)
			os.Exit(65)
		}
		if !failed {
			if err = p.push(os.Args[1], order); err != nil {
				fmt.Fprintln(os.Stderr, "giving up:", err)
				failed = true
			}
		}
		if failed {
			fmt.Println(order)
		}
	}
	if failed || lines.Err() != nil {
		os.Exit(1)
	}
}
