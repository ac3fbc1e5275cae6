"""What Go calls the answers of the Engine API: each type's fields in their order, as docker's client 28.2 has them. Data only; cli/answers.py reads it.

A line is a type: its fields by groups of one type, as in Go. `Name=json`: what JSON calls it. `?`: left out of JSON when it is empty. `@`: embedded.
`=-`: not in JSON.
Source: github.com/docker/docker/api/types and what the client makes of it for `info`, `version` and `context inspect`.
"""

from __future__ import annotations

from typing import Final

TYPES: Final = """
container.InspectResponse: @ContainerJSONBase *container.ContainerJSONBase; Mounts []container.MountPoint; Config *container.Config; NetworkSettings
  *container.NetworkSettings; ImageManifestDescriptor? *v1.Descriptor
container.ContainerJSONBase: ID=Id, Created, Path string; Args []string; State *container.State; Image, ResolvConfPath, HostnamePath, HostsPath, LogPath,
  Name string; RestartCount int; Driver, Platform, MountLabel, ProcessLabel, AppArmorProfile string; ExecIDs []string; HostConfig *container.HostConfig;
  GraphDriver storage.DriverData; SizeRw?, SizeRootFs? *int64
container.State: Status string; Running, Paused, Restarting, OOMKilled, Dead bool; Pid, ExitCode int; Error, StartedAt, FinishedAt string; Health?
  *container.Health
container.Health: Status string; FailingStreak int; Log []*container.HealthcheckResult
container.HealthcheckResult: Start, End time.Time; ExitCode int; Output string
container.HostConfig: Binds []string; ContainerIDFile string; LogConfig container.LogConfig; NetworkMode container.NetworkMode; PortBindings nat.PortMap;
  RestartPolicy container.RestartPolicy; AutoRemove bool; VolumeDriver string; VolumesFrom []string; ConsoleSize [2]uint; Annotations? map[string]string;
  CapAdd, CapDrop strslice.StrSlice; CgroupnsMode container.CgroupnsMode; DNS=Dns, DNSOptions=DnsOptions, DNSSearch=DnsSearch, ExtraHosts, GroupAdd
  []string; IpcMode container.IpcMode; Cgroup container.CgroupSpec; Links []string; OomScoreAdj int; PidMode container.PidMode; Privileged, PublishAllPorts,
  ReadonlyRootfs bool; SecurityOpt []string; StorageOpt?, Tmpfs? map[string]string; UTSMode container.UTSMode; UsernsMode container.UsernsMode; ShmSize
  int64; Sysctls? map[string]string; Runtime? string; Isolation container.Isolation; @Resources container.Resources; Mounts? []mount.Mount; MaskedPaths,
  ReadonlyPaths []string; Init? *bool
container.LogConfig: Type string; Config map[string]string
nat.PortBinding: HostIP=HostIp, HostPort string
container.RestartPolicy: Name container.RestartPolicyMode; MaximumRetryCount int
container.Resources: CPUShares=CpuShares, Memory, NanoCPUs=NanoCpus int64; CgroupParent string; BlkioWeight uint16; BlkioWeightDevice
  []*blkiodev.WeightDevice; BlkioDeviceReadBps, BlkioDeviceWriteBps, BlkioDeviceReadIOps, BlkioDeviceWriteIOps []*blkiodev.ThrottleDevice;
  CPUPeriod=CpuPeriod, CPUQuota=CpuQuota, CPURealtimePeriod=CpuRealtimePeriod, CPURealtimeRuntime=CpuRealtimeRuntime int64; CpusetCpus, CpusetMems string;
  Devices []container.DeviceMapping; DeviceCgroupRules []string; DeviceRequests []container.DeviceRequest; KernelMemory?, KernelMemoryTCP?,
  MemoryReservation, MemorySwap int64; MemorySwappiness *int64; OomKillDisable *bool; PidsLimit *int64; Ulimits []*units.Ulimit; CPUCount=CpuCount,
  CPUPercent=CpuPercent int64; IOMaximumIOps, IOMaximumBandwidth uint64
blkiodev.WeightDevice: Path string; Weight uint16
blkiodev.ThrottleDevice: Path string; Rate uint64
container.DeviceMapping: PathOnHost, PathInContainer, CgroupPermissions string
container.DeviceRequest: Driver string; Count int; DeviceIDs []string; Capabilities [][]string; Options map[string]string
units.Ulimit: Name string; Hard, Soft int64
mount.Mount: Type? mount.Type; Source?, Target? string; ReadOnly? bool; Consistency? mount.Consistency; BindOptions? *mount.BindOptions; VolumeOptions?
  *mount.VolumeOptions; ImageOptions? *mount.ImageOptions; TmpfsOptions? *mount.TmpfsOptions; ClusterOptions? *mount.ClusterOptions
mount.BindOptions: Propagation? mount.Propagation; NonRecursive?, CreateMountpoint?, ReadOnlyNonRecursive?, ReadOnlyForceRecursive? bool
mount.VolumeOptions: NoCopy? bool; Labels? map[string]string; Subpath? string; DriverConfig? *mount.Driver
mount.Driver: Name? string; Options? map[string]string
mount.ImageOptions: Subpath? string
mount.TmpfsOptions: SizeBytes? int64; Mode? fs.FileMode; Options? [][]string
mount.ClusterOptions:
storage.DriverData: Data map[string]string; Name string
container.MountPoint: Type? mount.Type; Name?, Source, Destination, Driver?, Mode string; RW bool; Propagation mount.Propagation
container.Config: Hostname, Domainname, User string; AttachStdin, AttachStdout, AttachStderr bool; ExposedPorts? nat.PortSet; Tty, OpenStdin, StdinOnce
  bool; Env []string; Cmd strslice.StrSlice; Healthcheck? *v1.HealthcheckConfig; ArgsEscaped? bool; Image string; Volumes map[string]struct {}; WorkingDir
  string; Entrypoint strslice.StrSlice; NetworkDisabled? bool; MacAddress? string; OnBuild []string; Labels map[string]string; StopSignal? string;
  StopTimeout? *int; Shell? strslice.StrSlice
v1.HealthcheckConfig: Test? []string; Interval?, Timeout?, StartPeriod?, StartInterval? time.Duration; Retries? int
container.NetworkSettings: @NetworkSettingsBase container.NetworkSettingsBase; @DefaultNetworkSettings container.DefaultNetworkSettings; Networks
  map[string]*network.EndpointSettings
container.NetworkSettingsBase: Bridge, SandboxID, SandboxKey string; Ports nat.PortMap; HairpinMode bool; LinkLocalIPv6Address string;
  LinkLocalIPv6PrefixLen int; SecondaryIPAddresses, SecondaryIPv6Addresses []network.Address
network.Address: Addr string; PrefixLen int
container.DefaultNetworkSettings: EndpointID, Gateway, GlobalIPv6Address string; GlobalIPv6PrefixLen int; IPAddress string; IPPrefixLen int; IPv6Gateway,
  MacAddress string
network.EndpointSettings: IPAMConfig *network.EndpointIPAMConfig; Links, Aliases []string; MacAddress string; DriverOpts map[string]string; GwPriority int;
  NetworkID, EndpointID, Gateway, IPAddress string; IPPrefixLen int; IPv6Gateway, GlobalIPv6Address string; GlobalIPv6PrefixLen int; DNSNames []string
network.EndpointIPAMConfig: IPv4Address?, IPv6Address? string; LinkLocalIPs? []string
v1.Descriptor: MediaType=mediaType string; Digest=digest digest.Digest; Size=size int64; URLs=urls? []string; Annotations=annotations? map[string]string;
  Data=data? []uint8; Platform=platform? *v1.Platform; ArtifactType=artifactType? string
v1.Platform: Architecture=architecture, OS=os, OSVersion=os.version? string; OSFeatures=os.features? []string; Variant=variant? string
image.InspectResponse: ID=Id string; RepoTags, RepoDigests []string; Parent, Comment, Created?, Container? string; ContainerConfig? *container.Config;
  DockerVersion, Author string; Config *v1.DockerOCIImageConfig; Architecture, Variant?, Os, OsVersion? string; Size, VirtualSize? int64; GraphDriver
  storage.DriverData; RootFS image.RootFS; Metadata image.Metadata; Descriptor? *v1.Descriptor; Manifests? []image.ManifestSummary
v1.DockerOCIImageConfig: @ImageConfig v1.ImageConfig; @DockerOCIImageConfigExt v1.DockerOCIImageConfigExt
v1.ImageConfig: User? string; ExposedPorts? map[string]struct {}; Env?, Entrypoint?, Cmd? []string; Volumes? map[string]struct {}; WorkingDir? string;
  Labels? map[string]string; StopSignal? string; ArgsEscaped? bool
v1.DockerOCIImageConfigExt: Healthcheck? *v1.HealthcheckConfig; OnBuild?, Shell? []string
image.RootFS: Type? string; Layers? []string
image.Metadata: LastTagTime? time.Time
image.ManifestSummary: ID string; Descriptor v1.Descriptor; Available bool; Size image.ManifestSizes; Kind image.ManifestKind; ImageData?
  *image.ImageProperties; AttestationData? *image.AttestationProperties
image.ManifestSizes: Content, Total int64
image.ImageProperties: Platform v1.Platform; Size image.UnpackedSize; Containers []string
image.UnpackedSize: Unpacked int64
image.AttestationProperties: For digest.Digest
network.Inspect: Name, ID=Id string; Created time.Time; Scope, Driver string; EnableIPv4, EnableIPv6 bool; IPAM network.IPAM; Internal, Attachable, Ingress
  bool; ConfigFrom network.ConfigReference; ConfigOnly bool; Containers map[string]network.EndpointResource; Options, Labels map[string]string; Peers?
  []network.PeerInfo; Services? map[string]network.ServiceInfo
network.IPAM: Driver string; Options map[string]string; Config []network.IPAMConfig
network.IPAMConfig: Subnet?, IPRange?, Gateway? string; AuxAddress=AuxiliaryAddresses? map[string]string
network.ConfigReference: Network string
network.EndpointResource: Name, EndpointID, MacAddress, IPv4Address, IPv6Address string
network.PeerInfo: Name, IP string
network.ServiceInfo: VIP string; Ports []string; LocalLBIndex int; Tasks []network.Task
network.Task: Name, EndpointID, EndpointIP string; Info map[string]string
volume.Volume: ClusterVolume? *volume.ClusterVolume; CreatedAt?, Driver string; Labels map[string]string; Mountpoint, Name string; Options
  map[string]string; Scope string; Status? map[string]interface {}; UsageData? *volume.UsageData
volume.ClusterVolume: ID string; @Meta swarm.Meta; Spec volume.ClusterVolumeSpec; PublishStatus? []*volume.PublishStatus; Info? *volume.Info
swarm.Meta: Version? swarm.Version; CreatedAt?, UpdatedAt? time.Time
swarm.Version: Index? uint64
volume.ClusterVolumeSpec: Group? string; AccessMode? *volume.AccessMode; AccessibilityRequirements? *volume.TopologyRequirement; CapacityRange?
  *volume.CapacityRange; Secrets? []volume.Secret; Availability? volume.Availability
volume.AccessMode: Scope? volume.Scope; Sharing? volume.SharingMode; MountVolume? *volume.TypeMount; BlockVolume? *volume.TypeBlock
volume.TypeMount: FsType? string; MountFlags? []string
volume.TypeBlock:
volume.TopologyRequirement: Requisite?, Preferred? []volume.Topology
volume.Topology: Segments? map[string]string
volume.CapacityRange: RequiredBytes, LimitBytes int64
volume.Secret: Key, Secret string
volume.PublishStatus: NodeID? string; State? volume.PublishState; PublishContext? map[string]string
volume.Info: CapacityBytes? int64; VolumeContext? map[string]string; VolumeID? string; AccessibleTopology? []volume.Topology
volume.UsageData: RefCount, Size int64
swarm.Service: ID string; @Meta swarm.Meta; Spec? swarm.ServiceSpec; PreviousSpec? *swarm.ServiceSpec; Endpoint? swarm.Endpoint; UpdateStatus?
  *swarm.UpdateStatus; ServiceStatus? *swarm.ServiceStatus; JobStatus? *swarm.JobStatus
swarm.ServiceSpec: @Annotations swarm.Annotations; TaskTemplate? swarm.TaskSpec; Mode? swarm.ServiceMode; UpdateConfig?, RollbackConfig?
  *swarm.UpdateConfig; Networks? []swarm.NetworkAttachmentConfig; EndpointSpec? *swarm.EndpointSpec
swarm.Annotations: Name? string; Labels map[string]string
swarm.TaskSpec: ContainerSpec? *swarm.ContainerSpec; PluginSpec? *runtime.PluginSpec; NetworkAttachmentSpec? *swarm.NetworkAttachmentSpec; Resources?
  *swarm.ResourceRequirements; RestartPolicy? *swarm.RestartPolicy; Placement? *swarm.Placement; Networks? []swarm.NetworkAttachmentConfig; LogDriver?
  *swarm.Driver; ForceUpdate uint64; Runtime? swarm.RuntimeType
swarm.ContainerSpec: Image? string; Labels? map[string]string; Command?, Args? []string; Hostname? string; Env? []string; Dir?, User? string; Groups?
  []string; Privileges? *swarm.Privileges; Init? *bool; StopSignal? string; TTY?, OpenStdin?, ReadOnly? bool; Mounts? []mount.Mount; StopGracePeriod?
  *time.Duration; Healthcheck? *v1.HealthcheckConfig; Hosts? []string; DNSConfig? *swarm.DNSConfig; Secrets? []*swarm.SecretReference; Configs?
  []*swarm.ConfigReference; Isolation? container.Isolation; Sysctls? map[string]string; CapabilityAdd?, CapabilityDrop? []string; Ulimits? []*units.Ulimit;
  OomScoreAdj? int64
swarm.Privileges: CredentialSpec *swarm.CredentialSpec; SELinuxContext *swarm.SELinuxContext; Seccomp? *swarm.SeccompOpts; AppArmor? *swarm.AppArmorOpts;
  NoNewPrivileges bool
swarm.CredentialSpec: Config, File, Registry string
swarm.SELinuxContext: Disable bool; User, Role, Type, Level string
swarm.SeccompOpts: Mode? swarm.SeccompMode; Profile? []uint8
swarm.AppArmorOpts: Mode? swarm.AppArmorMode
swarm.DNSConfig: Nameservers?, Search?, Options? []string
swarm.SecretReference: File *swarm.SecretReferenceFileTarget; SecretID, SecretName string
swarm.SecretReferenceFileTarget: Name, UID, GID string; Mode fs.FileMode
swarm.ConfigReference: File? *swarm.ConfigReferenceFileTarget; Runtime? *swarm.ConfigReferenceRuntimeTarget; ConfigID, ConfigName string
swarm.ConfigReferenceFileTarget: Name, UID, GID string; Mode fs.FileMode
swarm.ConfigReferenceRuntimeTarget:
runtime.PluginSpec: Name=name?, Remote=remote? string; Privileges=privileges? []*runtime.PluginPrivilege; Disabled=disabled? bool; Env=env? []string
runtime.PluginPrivilege: Name=name?, Description=description? string; Value=value? []string
swarm.NetworkAttachmentSpec: ContainerID string
swarm.ResourceRequirements: Limits? *swarm.Limit; Reservations? *swarm.Resources
swarm.Limit: NanoCPUs?, MemoryBytes?, Pids? int64
swarm.Resources: NanoCPUs?, MemoryBytes? int64; GenericResources? []swarm.GenericResource
swarm.GenericResource: NamedResourceSpec? *swarm.NamedGenericResource; DiscreteResourceSpec? *swarm.DiscreteGenericResource
swarm.NamedGenericResource: Kind?, Value? string
swarm.DiscreteGenericResource: Kind? string; Value? int64
swarm.RestartPolicy: Condition? swarm.RestartPolicyCondition; Delay? *time.Duration; MaxAttempts? *uint64; Window? *time.Duration
swarm.Placement: Constraints? []string; Preferences? []swarm.PlacementPreference; MaxReplicas? uint64; Platforms? []swarm.Platform
swarm.PlacementPreference: Spread *swarm.SpreadOver
swarm.SpreadOver: SpreadDescriptor string
swarm.Platform: Architecture?, OS? string
swarm.NetworkAttachmentConfig: Target? string; Aliases? []string; DriverOpts? map[string]string
swarm.Driver: Name? string; Options? map[string]string
swarm.ServiceMode: Replicated? *swarm.ReplicatedService; Global? *swarm.GlobalService; ReplicatedJob? *swarm.ReplicatedJob; GlobalJob? *swarm.GlobalJob
swarm.ReplicatedService: Replicas? *uint64
swarm.GlobalService:
swarm.ReplicatedJob: MaxConcurrent?, TotalCompletions? *uint64
swarm.GlobalJob:
swarm.UpdateConfig: Parallelism uint64; Delay? time.Duration; FailureAction? string; Monitor? time.Duration; MaxFailureRatio float32; Order string
swarm.EndpointSpec: Mode? swarm.ResolutionMode; Ports? []swarm.PortConfig
swarm.PortConfig: Name? string; Protocol? swarm.PortConfigProtocol; TargetPort?, PublishedPort? uint32; PublishMode? swarm.PortConfigPublishMode
swarm.Endpoint: Spec? swarm.EndpointSpec; Ports? []swarm.PortConfig; VirtualIPs? []swarm.EndpointVirtualIP
swarm.EndpointVirtualIP: NetworkID?, Addr? string
swarm.UpdateStatus: State? swarm.UpdateState; StartedAt?, CompletedAt? *time.Time; Message? string
swarm.ServiceStatus: RunningTasks, DesiredTasks, CompletedTasks uint64
swarm.JobStatus: JobIteration swarm.Version; LastExecution? time.Time
swarm.Task: ID string; @Meta swarm.Meta; @Annotations swarm.Annotations; Spec? swarm.TaskSpec; ServiceID? string; Slot? int; NodeID? string; Status?
  swarm.TaskStatus; DesiredState? swarm.TaskState; NetworksAttachments? []swarm.NetworkAttachment; GenericResources? []swarm.GenericResource; JobIteration?
  *swarm.Version; Volumes []swarm.VolumeAttachment
swarm.TaskStatus: Timestamp? time.Time; State? swarm.TaskState; Message?, Err? string; ContainerStatus? *swarm.ContainerStatus; PortStatus? swarm.PortStatus
swarm.ContainerStatus: ContainerID string; PID, ExitCode int
swarm.PortStatus: Ports? []swarm.PortConfig
swarm.NetworkAttachment: Network? swarm.Network; Addresses? []string
swarm.Network: ID string; @Meta swarm.Meta; Spec? swarm.NetworkSpec; DriverState? swarm.Driver; IPAMOptions? *swarm.IPAMOptions
swarm.NetworkSpec: @Annotations swarm.Annotations; DriverConfiguration? *swarm.Driver; IPv6Enabled?, Internal?, Attachable?, Ingress? bool; IPAMOptions?
  *swarm.IPAMOptions; ConfigFrom? *network.ConfigReference; Scope? string
swarm.IPAMOptions: Driver? swarm.Driver; Configs? []swarm.IPAMConfig
swarm.IPAMConfig: Subnet?, Range?, Gateway? string
swarm.VolumeAttachment: ID?, Source?, Target? string
swarm.Node: ID string; @Meta swarm.Meta; Spec? swarm.NodeSpec; Description? swarm.NodeDescription; Status? swarm.NodeStatus; ManagerStatus?
  *swarm.ManagerStatus
swarm.NodeSpec: @Annotations swarm.Annotations; Role? swarm.NodeRole; Availability? swarm.NodeAvailability
swarm.NodeDescription: Hostname? string; Platform? swarm.Platform; Resources? swarm.Resources; Engine? swarm.EngineDescription; TLSInfo? swarm.TLSInfo;
  CSIInfo? []swarm.NodeCSIInfo
swarm.EngineDescription: EngineVersion? string; Labels? map[string]string; Plugins? []swarm.PluginDescription
swarm.PluginDescription: Type?, Name? string
swarm.TLSInfo: TrustRoot? string; CertIssuerSubject?, CertIssuerPublicKey? []uint8
swarm.NodeCSIInfo: PluginName?, NodeID? string; MaxVolumesPerNode? int64; AccessibleTopology? *swarm.Topology
swarm.Topology: Segments? map[string]string
swarm.NodeStatus: State? swarm.NodeState; Message?, Addr? string
swarm.ManagerStatus: Leader? bool; Reachability? swarm.Reachability; Addr? string
swarm.Secret: ID string; @Meta swarm.Meta; Spec swarm.SecretSpec
swarm.SecretSpec: @Annotations swarm.Annotations; Data? []uint8; Driver?, Templating? *swarm.Driver
swarm.Config: ID string; @Meta swarm.Meta; Spec swarm.ConfigSpec
swarm.ConfigSpec: @Annotations swarm.Annotations; Data? []uint8; Templating? *swarm.Driver
system.dockerInfo: @Info? *system.Info; ServerErrors? []string; UserName=- string; ClientInfo? *system.clientInfo; ClientErrors? []string
system.Info: ID string; Containers, ContainersRunning, ContainersPaused, ContainersStopped, Images int; Driver string; DriverStatus, SystemStatus?
  [][2]string; Plugins system.PluginsInfo; MemoryLimit, SwapLimit, KernelMemory?, KernelMemoryTCP?, CPUCfsPeriod=CpuCfsPeriod, CPUCfsQuota=CpuCfsQuota,
  CPUShares, CPUSet, PidsLimit, IPv4Forwarding, Debug bool; NFd int; OomKillDisable bool; NGoroutines int; SystemTime, LoggingDriver, CgroupDriver,
  CgroupVersion? string; NEventsListener int; KernelVersion, OperatingSystem, OSVersion, OSType, Architecture, IndexServerAddress string; RegistryConfig
  *registry.ServiceConfig; NCPU int; MemTotal int64; GenericResources []swarm.GenericResource; DockerRootDir, HTTPProxy=HttpProxy, HTTPSProxy=HttpsProxy,
  NoProxy, Name string; Labels []string; ExperimentalBuild bool; ServerVersion string; Runtimes map[string]system.RuntimeWithStatus; DefaultRuntime string;
  Swarm swarm.Info; LiveRestoreEnabled bool; Isolation container.Isolation; InitBinary string; ContainerdCommit, RuncCommit, InitCommit system.Commit;
  SecurityOptions []string; ProductLicense? string; DefaultAddressPools? []system.NetworkAddressPool; FirewallBackend? *system.FirewallInfo; CDISpecDirs
  []string; DiscoveredDevices? []system.DeviceInfo; Containerd? *system.ContainerdInfo; Warnings []string
system.PluginsInfo: Volume, Network, Authorization, Log []string
registry.ServiceConfig: AllowNondistributableArtifactsCIDRs? []*registry.NetIPNet; AllowNondistributableArtifactsHostnames? []string; InsecureRegistryCIDRs
  []*registry.NetIPNet; IndexConfigs map[string]*registry.IndexInfo; Mirrors []string; ExtraFields=- map[string]interface {}
registry.IndexInfo: Name string; Mirrors []string; Secure, Official bool
system.RuntimeWithStatus: @Runtime system.Runtime; Status=status? map[string]string
system.Runtime: Path=path? string; Args=runtimeArgs? []string; Type=runtimeType? string; Options=options? map[string]interface {}
swarm.Info: NodeID, NodeAddr string; LocalNodeState swarm.LocalNodeState; ControlAvailable bool; Error string; RemoteManagers []swarm.Peer; Nodes?,
  Managers? int; Cluster? *swarm.ClusterInfo; Warnings? []string
swarm.Peer: NodeID, Addr string
swarm.ClusterInfo: ID string; @Meta swarm.Meta; Spec swarm.Spec; TLSInfo swarm.TLSInfo; RootRotationInProgress bool; DefaultAddrPool []string; SubnetSize,
  DataPathPort uint32
swarm.Spec: @Annotations swarm.Annotations; Orchestration? swarm.OrchestrationConfig; Raft? swarm.RaftConfig; Dispatcher? swarm.DispatcherConfig; CAConfig?
  swarm.CAConfig; TaskDefaults? swarm.TaskDefaults; EncryptionConfig? swarm.EncryptionConfig
swarm.OrchestrationConfig: TaskHistoryRetentionLimit? *int64
swarm.RaftConfig: SnapshotInterval? uint64; KeepOldSnapshots? *uint64; LogEntriesForSlowFollowers? uint64; ElectionTick, HeartbeatTick int
swarm.DispatcherConfig: HeartbeatPeriod? time.Duration
swarm.CAConfig: NodeCertExpiry? time.Duration; ExternalCAs? []*swarm.ExternalCA; SigningCACert?, SigningCAKey? string; ForceRotate? uint64
swarm.ExternalCA: Protocol swarm.ExternalCAProtocol; URL string; Options? map[string]string; CACert string
swarm.TaskDefaults: LogDriver? *swarm.Driver
swarm.EncryptionConfig: AutoLockManagers bool
system.Commit: ID, Expected? string
system.NetworkAddressPool: Base string; Size int
system.FirewallInfo: Driver string; Info? [][2]string
system.DeviceInfo: Source, ID string
system.ContainerdInfo: Address? string; Namespaces system.ContainerdNamespaces
system.ContainerdNamespaces: Containers, Plugins string
system.clientInfo: Debug bool; @clientVersion system.clientVersion; Plugins []manager.Plugin; Warnings []string
system.clientVersion: Platform? *system.platformInfo; Version?, APIVersion=ApiVersion?, DefaultAPIVersion?, GitCommit?, GoVersion?, Os?, Arch?, BuildTime?,
  Context string
system.platformInfo: Name? string
manager.Plugin: @Metadata metadata.Metadata; Name?, Path? string; Err? error; ShadowedPaths? []string
metadata.Metadata: SchemaVersion?, Vendor?, Version?, ShortDescription?, URL? string
system.versionInfo: Client system.clientVersion; Server *types.Version
types.Version: Platform? types.VersionPlatform; Components? []types.ComponentVersion; Version, APIVersion=ApiVersion, MinAPIVersion?, GitCommit, GoVersion,
  Os, Arch, KernelVersion? string; Experimental? bool; BuildTime? string
types.VersionPlatform: Name string
types.ComponentVersion: Name, Version string; Details? map[string]string
events.Message: Status=status?, ID=id?, From=from? string; Type events.Type; Action events.Action; Actor events.Actor; Scope=scope? string; Time=time?,
  TimeNano=timeNano? int64
events.Actor: ID string; Attributes map[string]string
context.contextWithTLSListing: @Metadata store.Metadata; TLSMaterial map[string]store.EndpointFiles; Storage store.StorageInfo
store.Metadata: Name? string; Metadata? command.DockerContext; Endpoints? map[string]context.EndpointMetaBase
command.DockerContext: Description? string; AdditionalFields=- map[string]interface {}
context.EndpointMetaBase: Host? string; SkipTLSVerify bool
store.StorageInfo: MetadataPath, TLSPath string
"""

NAMED: Final = {
    "nat.PortMap": "map[nat.Port][]nat.PortBinding",
    "strslice.StrSlice": "[]string",
    "nat.PortSet": "map[nat.Port]struct {}",
    "store.EndpointFiles": "[]string",
    **dict.fromkeys((
        "container.NetworkMode", "nat.Port", "container.RestartPolicyMode", "container.CgroupnsMode", "container.IpcMode", "container.CgroupSpec",
        "container.PidMode", "container.UTSMode", "container.UsernsMode", "container.Isolation", "mount.Type", "mount.Consistency",
        "mount.Propagation", "digest.Digest", "image.ManifestKind", "volume.Scope", "volume.SharingMode", "volume.Availability",
        "volume.PublishState", "swarm.SeccompMode", "swarm.AppArmorMode", "swarm.RestartPolicyCondition", "swarm.RuntimeType",
        "swarm.ResolutionMode", "swarm.PortConfigProtocol", "swarm.PortConfigPublishMode", "swarm.UpdateState", "swarm.TaskState", "swarm.NodeRole",
        "swarm.NodeAvailability", "swarm.NodeState", "swarm.Reachability", "swarm.LocalNodeState", "swarm.ExternalCAProtocol", "events.Type",
        "events.Action",
    ), "string"),
}  # fmt: skip
"""Types that have another one's values."""
