// Package replies is what both Go programs share: where the store is, what they write, how a step
// is printed.
package replies

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
)

const (
	Rounds      = 10
	SteadyReads = 40
	Tag         = "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}"
	Typed       = "redis.setresp(3); return {redis.call('HGETALL', KEYS[1]), {double=1.5}, true}"
	Set         = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])"
	Undeclared  = "return redis.call('SET', 'hot:string', ARGV[1])"

	shownWholeBytes = 300
)

var (
	Address  = os.Getenv("STORE_HOST") + ":" + os.Getenv("STORE_PORT")
	User     = os.Getenv("STORE_USER")
	Password = os.Getenv("STORE_PASSWORD")
	IsResp3  = os.Getenv("STORE_PROTOCOL") == "3"

	Binary = fill(256, func(index int) byte { return byte(index) })
	Large  = fill(1<<20, func(index int) byte { return byte(index * 31 % 251) })

	out = bufio.NewWriter(os.Stdout)
)

func fill(size int, value func(int) byte) string {
	bytes := make([]byte, size)
	for index := range bytes {
		bytes[index] = value(index)
	}
	return string(bytes)
}

// TLS trusts the file that STORE_CA names; nil means plain TCP.
func TLS() *tls.Config {
	path := os.Getenv("STORE_CA")
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	Must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: os.Getenv("STORE_HOST")}
}

// Must ends the program on an error that is no reply.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Both is what a call returned: its value, or its error.
func Both[T any](value T, err error) any {
	if err != nil {
		return err
	}
	return value
}

// Sorted is Both for a reply whose order the server does not promise.
func Sorted(values []string, err error) any {
	sort.Strings(values)
	return Both(values, err)
}

// Step prints one line.
func Step(name string, replies ...any) {
	line, err := json.Marshal(struct {
		Step  string `json:"step"`
		Reply any    `json:"reply"`
	}{name, shown(replies)})
	Must(err)
	_, err = fmt.Fprintln(out, string(line))
	Must(err)
}

// Finish writes what is still buffered.
func Finish() { Must(out.Flush()) }

// shown is a reply as JSON can hold it; bytes as one character each, long ones as length and digest.
func shown(value any) any {
	switch value := value.(type) {
	case error:
		return "error: " + value.Error()
	case string:
		return shownText(value)
	case float64:
		if math.IsInf(value, 0) {
			return fmt.Sprint(value)
		}
	case []any:
		return each(value)
	case []string:
		return each(value)
	case map[string]string:
		return pairs(value)
	case map[string]any:
		return pairs(value)
	case map[any]any:
		named := map[string]any{}
		for name, each := range value {
			named[fmt.Sprint(name)] = each
		}
		return pairs(named)
	}
	return value
}

func shownText(text string) string {
	if len(text) > shownWholeBytes {
		return fmt.Sprintf("%d bytes %x", len(text), sha1.Sum([]byte(text)))
	}
	runes := make([]rune, len(text))
	for index := range runes {
		runes[index] = rune(text[index])
	}
	return string(runes)
}

func each[T any](values []T) []any {
	found := make([]any, len(values))
	for index, value := range values {
		found[index] = shown(value)
	}
	return found
}

func pairs[T any](values map[string]T) []any {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	found := make([]any, len(names))
	for index, name := range names {
		found[index] = []any{shown(name), shown(values[name])}
	}
	return found
}
