package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// Plain tells an error as its own text does, but for what the operating system
// and the network say: their chains are replaced by plain words.
func Plain(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	each(err, func(e error) {
		if words := inWords(e); words != "" {
			text = strings.Replace(text, e.Error(), words, 1)
		}
	})
	return text
}

// each visits an error and all that it wraps, outermost first. What is within an
// error that has words is not visited.
func each(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	if inWords(err) != "" {
		return
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		each(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			each(one, visit)
		}
	}
}

// inWords is what one error means, or "".
func inWords(err error) string {
	switch e := err.(type) {
	case *fs.PathError:
		return ofFile(e.Path, e.Err)
	case *os.LinkError:
		return ofFile(e.New, e.Err)
	case *net.OpError:
		return ofNetwork(e)
	case *tls.CertificateVerificationError:
		return ofCertificate(e.Err)
	case *yaml.TypeError:
		return PlainYAML(e).Error()
	case *net.DNSError:
		return fmt.Sprintf("no machine is known by the name %s", e.Name)
	}
	switch err {
	case context.DeadlineExceeded:
		return "it took too long"
	case context.Canceled:
		return "it was interrupted"
	}
	return ""
}

func ofCertificate(err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "the certificate shown there was not made by a CA that is trusted here (--ca names one)"
	case errors.As(err, &name):
		return "the certificate shown there is not for " + name.Host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate shown there has ended, or has not begun"
	}
	return ""
}

func ofFile(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir := filepath.Dir(path); absent(dir) {
			return "there is no folder " + dir
		}
		return "there is no file " + path
	case errors.Is(err, fs.ErrExist):
		return path + " exists already"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s is closed to %s, who runs this", path, me())
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "no room is left for " + path
	case errors.Is(err, syscall.EROFS):
		return path + " is on a disk that cannot be written"
	case errors.Is(err, syscall.EISDIR):
		return path + " is a folder"
	case errors.Is(err, syscall.ENOTDIR):
		return path + " goes through what is no folder"
	}
	return ""
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// me is who runs this program.
func me() string {
	if u, err := user.Current(); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("user %d", os.Getuid())
}

func ofNetwork(e *net.OpError) string {
	at := "the address"
	if e.Addr != nil {
		at = e.Addr.String()
	}
	var name *net.DNSError
	switch {
	case errors.As(e, &name):
		return inWords(name)
	case errors.Is(e, syscall.ECONNREFUSED):
		return "nothing answers at " + at
	case errors.Is(e, syscall.EHOSTUNREACH), errors.Is(e, syscall.ENETUNREACH):
		return "no way leads to " + at
	case errors.Is(e, syscall.EADDRINUSE):
		return at + " is taken by another program"
	case errors.Is(e, syscall.EADDRNOTAVAIL):
		return at + " is no address of this machine"
	case errors.Is(e, syscall.EACCES):
		return at + " may not be opened by " + me()
	case errors.Is(e, syscall.ENOENT):
		return "there is no socket " + at
	case e.Timeout():
		return at + " does not answer"
	}
	return ""
}
