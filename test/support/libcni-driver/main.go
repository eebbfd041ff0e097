// libcni-driver drives a CNI plugin through libcni, the library that container runtimes drive it with, so that the tests
// see what a runtime sees: the version it chooses, the result it keeps and passes on, the DEL it makes of its own cache.
//
//	libcni-driver add|check|del|gc|status FLAGS
//
// add prints the result. A failure is the plugin's error as JSON on standard output, and exit status 1; one of libcni
// itself has the code 999.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

var (
	list         = flag.String("list", "", "the network configuration list")
	plugins      = flag.String("plugins", "", "folders of the plugins, separated by :")
	cache        = flag.String("cache", "", "folder of libcni's cache")
	container    = flag.String("container", "", "CNI_CONTAINERID")
	netns        = flag.String("netns", "", "CNI_NETNS")
	ifName       = flag.String("ifname", "eth0", "CNI_IFNAME")
	capabilities = flag.String("capabilities", "{}", "capability arguments, as JSON")
	valid        = flag.String("valid", "", "gc: the valid attachments, CONTAINERID@IFNAME separated by commas")
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("say add, check, del, gc or status"))
	}
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	if err := run(os.Args[1]); err != nil {
		fail(err)
	}
}

func run(command string) error {
	ctx := context.Background()
	network, err := libcni.ConfListFromFile(*list)
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(*plugins), *cache, nil)
	attachment := &libcni.RuntimeConf{ContainerID: *container, NetNS: *netns, IfName: *ifName}
	if err := json.Unmarshal([]byte(*capabilities), &attachment.CapabilityArgs); err != nil {
		return err
	}
	switch command {
	case "add":
		result, err := cni.AddNetworkList(ctx, network, attachment)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(ctx, network, attachment)
	case "del":
		return cni.DelNetworkList(ctx, network, attachment)
	case "gc":
		return cni.GCNetworkList(ctx, network, &libcni.GCArgs{ValidAttachments: validAttachments()})
	case "status":
		return cni.GetStatusNetworkList(ctx, network)
	}
	return fmt.Errorf("there is no %s", command)
}

func validAttachments() []types.GCAttachment {
	attachments := []types.GCAttachment{}
	for _, name := range strings.Split(*valid, ",") {
		if container, ifName, found := strings.Cut(name, "@"); found {
			attachments = append(attachments, types.GCAttachment{ContainerID: container, IfName: ifName})
		}
	}
	return attachments
}

func fail(err error) {
	answer := types.NewError(types.ErrInternal, err.Error(), "")
	errors.As(err, &answer)
	_ = answer.Print()
	os.Exit(1)
}
