// The network policy controller of kube-router, which is also the one inside k3s, without the router around it:
// the router is most of the build, and the tests' cluster has its routes.
package main

import (
	"flag"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	config := options.NewKubeRouterConfig()
	config.EnableIPv4 = true
	// A synchronisation that fails is given up, and repeated only at the next event or when this is over.
	config.IPTablesSyncPeriod = 10 * time.Second
	flag.StringVar(&config.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	flag.StringVar(&config.HostnameOverride, "node", "", "this node")
	flag.StringVar(&config.ClusterIPCIDRs[0], "services", "", "subnet of the ClusterIPs")
	flag.Parse()

	access, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	check(err)
	client, err := kubernetes.NewForConfig(access)
	check(err)
	iptables, ipsets, err := netpol.NewIPTablesHandlers(config)
	check(err)

	shared := informers.NewSharedInformerFactory(client, 0)
	pods := shared.Core().V1().Pods().Informer()
	namespaces := shared.Core().V1().Namespaces().Informer()
	policies := shared.Networking().V1().NetworkPolicies().Informer()
	controller, err := netpol.NewNetworkPolicyController(
		client, config, pods, policies, namespaces, &sync.Mutex{}, iptables, ipsets)
	check(err)
	pods.AddEventHandler(controller.PodEventHandler)
	namespaces.AddEventHandler(controller.NamespaceEventHandler)
	policies.AddEventHandler(controller.NetworkPolicyEventHandler)

	stop := make(chan struct{})
	shared.Start(stop)
	shared.WaitForCacheSync(stop)
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats {
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(beats, stop, &running)

	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	<-told
	close(stop)
	running.Wait()
	controller.Cleanup()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
