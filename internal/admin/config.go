package admin

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Config says where the admin interface listens.
type Config struct {
	// Listen is the address and port of the admin interface. Port 0 takes any free
	// one, which the log then names. Default 127.0.0.1:9644; "off" serves nothing.
	Listen string `yaml:"listen"`
	// Token is the bearer token that requests must carry. It is required when Listen
	// is not a loopback address. It is read afresh for every request, so it can be
	// changed in its file without a restart.
	Token func() (string, error) `yaml:"token"`
}

// Off is the value of Config.Listen that serves nothing.
const Off = "off"

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:9644"} }

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	if c.Listen == Off {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not an address and a port: write, for example, 127.0.0.1:9644", c.Listen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("listen: %q has no port from 0 to 65535", c.Listen)
	}
	if !loopback(host) && c.Token == nil {
		return errors.New("listen: " + strconv.Quote(c.Listen) + " can be reached from other machines: " +
			"set admin.token, as in token: {env: FIREHOSED_ADMIN_TOKEN}, or listen on 127.0.0.1")
	}
	return nil
}

// loopback reports whether a host is this machine alone. An empty host is every
// address of it.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
