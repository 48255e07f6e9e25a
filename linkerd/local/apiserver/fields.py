"""The fields of the built-in kinds: name, protobuf number, type.

One message a line (continued lines begin with a space), one field a word:
`name=number` `*` list, `%` map from text · `^` inlined in JSON, `?` may be absent (a pointer in
Go, so that zero means something) · type: nothing is text, b boolean, i whole number, d number,
y bytes, a capital begins the name of a message.

The table serves two ends: bodies that clients send as protobuf, and unknown fields in JSON.
Source: k8s.io/api v0.34 and k8s.io/apimachinery v0.34, generated.proto (names and numbers).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

_FIELD = re.compile(r"(\w+)=(\d+)([*%]?)([\^?]?)(\w*)")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; `type` is "", b, i, d, y or a message's name."""

    name: str
    number: int
    many: str
    inline: bool
    optional: bool
    type: str


Message = dict[int, Field]


@functools.cache
def messages() -> dict[str, Message]:
    """Returns every message by name; fields by number."""
    found: dict[str, Message] = {}
    for line in _TABLE.replace("\n ", " ").strip().splitlines():
        name, _, rest = line.partition(":")
        found[name] = {
            int(m[2]): Field(m[1], int(m[2]), m[3], m[4] == "^", m[4] == "?", m[5])
            for m in _FIELD.finditer(rest)
        }
    return found


@functools.cache
def by_json_name(message: str) -> dict[str, Field]:
    """Returns a message's fields by their JSON names, inlined ones included."""
    found: dict[str, Field] = {}
    for field in messages()[message].values():
        if field.inline:
            found.update(by_json_name(field.type))
        else:
            found[field.name] = field
    return found


#: (apiVersion, kind) whose message is not named like the kind.
_RENAMED = {
    ("events.k8s.io/v1", "Event"): "EventsEvent",
    ("autoscaling/v1", "HorizontalPodAutoscaler"): "HorizontalPodAutoscalerV1",
    ("authentication.k8s.io/v1", "TokenRequest"): "AuthenticationTokenRequest",
}


def message_of(api_version: str, kind: str) -> str | None:
    """Returns the message of a kind, None when the table has none."""
    name = _RENAMED.get((api_version, kind), kind)
    return name if name in messages() else None


#: Kinds whose messages below leave parts open, so that they are read as JSON only.
JSON_ONLY = frozenset(("APIService", "CustomResourceDefinition"))

_TABLE = """
APIService: metadata=1ObjectMeta spec=2APIServiceSpec status=3APIServiceStatus
APIServiceCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
APIServiceSpec: service=1?APIServiceReference group=2 version=3 insecureSkipTLSVerify=4b
 caBundle=5y groupPriorityMinimum=7i versionPriority=8i
APIServiceReference: namespace=1 name=2 port=3?i
APIServiceStatus: conditions=1*APIServiceCondition
CustomResourceColumnDefinition: name=1 type=2 format=3 description=4 priority=5i jsonPath=6
CustomResourceConversion: strategy=1 webhook=2?RawExtension
CustomResourceDefinition: metadata=1ObjectMeta spec=2CustomResourceDefinitionSpec
 status=3CustomResourceDefinitionStatus
CustomResourceDefinitionCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
 observedGeneration=6i
CustomResourceDefinitionNames: plural=1 singular=2 shortNames=3* kind=4 listKind=5 categories=6*
CustomResourceDefinitionSpec: group=1 names=3CustomResourceDefinitionNames scope=4
 versions=7*CustomResourceDefinitionVersion conversion=9?CustomResourceConversion
 preserveUnknownFields=10b
CustomResourceDefinitionStatus: conditions=1*CustomResourceDefinitionCondition
 acceptedNames=2CustomResourceDefinitionNames storedVersions=3* observedGeneration=4i
CustomResourceDefinitionVersion: name=1 served=2b storage=3b schema=4?CustomResourceValidation
 subresources=5?CustomResourceSubresources additionalPrinterColumns=6*CustomResourceColumnDefinition
 deprecated=7b deprecationWarning=8? selectableFields=9*SelectableField
CustomResourceSubresourceScale: specReplicasPath=1 statusReplicasPath=2 labelSelectorPath=3?
CustomResourceSubresources: status=1?RawExtension scale=2?CustomResourceSubresourceScale
CustomResourceValidation: openAPIV3Schema=1?JSONSchema
SelectableField: jsonPath=1
AWSElasticBlockStoreVolumeSource: volumeID=1 fsType=2 partition=3i readOnly=4b
Affinity: nodeAffinity=1?NodeAffinity podAffinity=2?PodAffinity podAntiAffinity=3?PodAntiAffinity
AggregationRule: clusterRoleSelectors=1*LabelSelector
AppArmorProfile: type=1 localhostProfile=2?
AttachedVolume: name=1 devicePath=2
AuthenticationTokenRequest: metadata=1ObjectMeta spec=2TokenRequestSpec status=3TokenRequestStatus
AzureDiskVolumeSource: diskName=1 diskURI=2 cachingMode=3? fsType=4? readOnly=5?b kind=6?
AzureFilePersistentVolumeSource: secretName=1 shareName=2 readOnly=3b secretNamespace=4?
AzureFileVolumeSource: secretName=1 shareName=2 readOnly=3b
Binding: metadata=1ObjectMeta target=2ObjectReference
BoundObjectReference: kind=1 apiVersion=2 name=3 uid=4
CSIDriver: metadata=1ObjectMeta spec=2CSIDriverSpec
CSIDriverSpec: attachRequired=1?b podInfoOnMount=2?b volumeLifecycleModes=3* storageCapacity=4?b
 fsGroupPolicy=5? tokenRequests=6*StorageTokenRequest requiresRepublish=7?b seLinuxMount=8?b
 nodeAllocatableUpdatePeriodSeconds=9?i
CSINode: metadata=1ObjectMeta spec=2CSINodeSpec
CSINodeDriver: name=1 nodeID=2 topologyKeys=3* allocatable=4?VolumeNodeResources
CSINodeSpec: drivers=1*CSINodeDriver
CSIPersistentVolumeSource: driver=1 volumeHandle=2 readOnly=3b fsType=4 volumeAttributes=5%
 controllerPublishSecretRef=6?SecretReference nodeStageSecretRef=7?SecretReference
 nodePublishSecretRef=8?SecretReference controllerExpandSecretRef=9?SecretReference
 nodeExpandSecretRef=10?SecretReference
CSIVolumeSource: driver=1 readOnly=2?b fsType=3? volumeAttributes=4%
 nodePublishSecretRef=5?LocalObjectReference
Capabilities: add=1* drop=2*
CephFSPersistentVolumeSource: monitors=1* path=2 user=3 secretFile=4 secretRef=5?SecretReference
 readOnly=6b
CephFSVolumeSource: monitors=1* path=2 user=3 secretFile=4 secretRef=5?LocalObjectReference
 readOnly=6b
CinderPersistentVolumeSource: volumeID=1 fsType=2 readOnly=3b secretRef=4?SecretReference
CinderVolumeSource: volumeID=1 fsType=2 readOnly=3b secretRef=4?LocalObjectReference
ClientIPConfig: timeoutSeconds=1?i
ClusterRole: metadata=1ObjectMeta rules=2*PolicyRule aggregationRule=3?AggregationRule
ClusterRoleBinding: metadata=1ObjectMeta subjects=2*Subject roleRef=3RoleRef
ClusterTrustBundleProjection: name=1? signerName=2? labelSelector=3?LabelSelector path=4
 optional=5?b
Condition: type=1 status=2 observedGeneration=3i lastTransitionTime=4Time reason=5 message=6
ConfigMap: metadata=1ObjectMeta data=2% binaryData=3%y immutable=4?b
ConfigMapEnvSource: localObjectReference=1^LocalObjectReference optional=2?b
ConfigMapKeySelector: localObjectReference=1^LocalObjectReference key=2 optional=3?b
ConfigMapNodeConfigSource: namespace=1 name=2 uid=3 resourceVersion=4 kubeletConfigKey=5
ConfigMapProjection: localObjectReference=1^LocalObjectReference items=2*KeyToPath optional=4?b
ConfigMapVolumeSource: localObjectReference=1^LocalObjectReference items=2*KeyToPath
 defaultMode=3?i optional=4?b
Container: name=1 image=2 command=3* args=4* workingDir=5 ports=6*ContainerPort env=7*EnvVar
 resources=8ResourceRequirements volumeMounts=9*VolumeMount livenessProbe=10?Probe
 readinessProbe=11?Probe lifecycle=12?Lifecycle terminationMessagePath=13 imagePullPolicy=14
 securityContext=15?SecurityContext stdin=16b stdinOnce=17b tty=18b envFrom=19*EnvFromSource
 terminationMessagePolicy=20 volumeDevices=21*VolumeDevice startupProbe=22?Probe
 resizePolicy=23*ContainerResizePolicy restartPolicy=24?
 restartPolicyRules=25*ContainerRestartRule
ContainerExtendedResourceRequest: containerName=1 resourceName=2 requestName=3
ContainerImage: names=1* sizeBytes=2i
ContainerPort: name=1 hostPort=2i containerPort=3i protocol=4 hostIP=5
ContainerResizePolicy: resourceName=1 restartPolicy=2
ContainerResourceMetricSource: name=1 target=2MetricTarget container=3
ContainerResourceMetricStatus: name=1 current=2MetricValueStatus container=3
ContainerRestartRule: action=1 exitCodes=2?ContainerRestartRuleOnExitCodes
ContainerRestartRuleOnExitCodes: operator=1 values=2*i
ContainerState: waiting=1?ContainerStateWaiting running=2?ContainerStateRunning
 terminated=3?ContainerStateTerminated
ContainerStateRunning: startedAt=1Time
ContainerStateTerminated: exitCode=1i signal=2i reason=3 message=4 startedAt=5Time
 finishedAt=6Time containerID=7
ContainerStateWaiting: reason=1 message=2
ContainerStatus: name=1 state=2ContainerState lastState=3ContainerState ready=4b restartCount=5i
 image=6 imageID=7 containerID=8 started=9?b allocatedResources=10%Quantity
 resources=11?ResourceRequirements volumeMounts=12*VolumeMountStatus user=13?ContainerUser
 allocatedResourcesStatus=14*ResourceStatus stopSignal=15?
ContainerUser: linux=1?LinuxContainerUser
ControllerRevision: metadata=1ObjectMeta data=2RawExtension revision=3i
CronJob: metadata=1ObjectMeta spec=2CronJobSpec status=3CronJobStatus
CronJobSpec: schedule=1 startingDeadlineSeconds=2?i concurrencyPolicy=3 suspend=4?b
 jobTemplate=5JobTemplateSpec successfulJobsHistoryLimit=6?i failedJobsHistoryLimit=7?i
 timeZone=8?
CronJobStatus: active=1*ObjectReference lastScheduleTime=4?Time lastSuccessfulTime=5?Time
CrossVersionObjectReference: kind=1 name=2 apiVersion=3
DaemonEndpoint: Port=1i
DaemonSet: metadata=1ObjectMeta spec=2DaemonSetSpec status=3DaemonSetStatus
DaemonSetCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
DaemonSetSpec: selector=1?LabelSelector template=2PodTemplateSpec
 updateStrategy=3DaemonSetUpdateStrategy minReadySeconds=4i revisionHistoryLimit=6?i
DaemonSetStatus: currentNumberScheduled=1i numberMisscheduled=2i desiredNumberScheduled=3i
 numberReady=4i observedGeneration=5i updatedNumberScheduled=6i numberAvailable=7i
 numberUnavailable=8i collisionCount=9?i conditions=10*DaemonSetCondition
DaemonSetUpdateStrategy: type=1 rollingUpdate=2?RollingUpdateDaemonSet
DeleteOptions: gracePeriodSeconds=1?i preconditions=2?Preconditions orphanDependents=3?b
 propagationPolicy=4? dryRun=5* ignoreStoreReadErrorWithClusterBreakingPotential=6?b
Deployment: metadata=1ObjectMeta spec=2DeploymentSpec status=3DeploymentStatus
DeploymentCondition: type=1 status=2 reason=4 message=5 lastUpdateTime=6Time
 lastTransitionTime=7Time
DeploymentSpec: replicas=1?i selector=2?LabelSelector template=3PodTemplateSpec
 strategy=4DeploymentStrategy minReadySeconds=5i revisionHistoryLimit=6?i paused=7b
 progressDeadlineSeconds=9?i
DeploymentStatus: observedGeneration=1i replicas=2i updatedReplicas=3i availableReplicas=4i
 unavailableReplicas=5i conditions=6*DeploymentCondition readyReplicas=7i collisionCount=8?i
 terminatingReplicas=9?i
DeploymentStrategy: type=1 rollingUpdate=2?RollingUpdateDeployment
DiscoveryEndpointPort: name=1? protocol=2? port=3?i appProtocol=4?
DownwardAPIProjection: items=1*DownwardAPIVolumeFile
DownwardAPIVolumeFile: path=1 fieldRef=2?ObjectFieldSelector
 resourceFieldRef=3?ResourceFieldSelector mode=4?i
DownwardAPIVolumeSource: items=1*DownwardAPIVolumeFile defaultMode=2?i
EmptyDirVolumeSource: medium=1 sizeLimit=2?Quantity
Endpoint: addresses=1* conditions=2EndpointConditions hostname=3? targetRef=4?ObjectReference
 deprecatedTopology=5% nodeName=6? zone=7? hints=8?EndpointHints
EndpointAddress: ip=1 targetRef=2?ObjectReference hostname=3 nodeName=4?
EndpointConditions: ready=1?b serving=2?b terminating=3?b
EndpointHints: forZones=1*ForZone forNodes=2*ForNode
EndpointPort: name=1 port=2i protocol=3 appProtocol=4?
EndpointSlice: metadata=1ObjectMeta endpoints=2*Endpoint ports=3*DiscoveryEndpointPort
 addressType=4
EndpointSubset: addresses=1*EndpointAddress notReadyAddresses=2*EndpointAddress
 ports=3*EndpointPort
Endpoints: metadata=1ObjectMeta subsets=2*EndpointSubset
EnvFromSource: prefix=1 configMapRef=2?ConfigMapEnvSource secretRef=3?SecretEnvSource
EnvVar: name=1 value=2 valueFrom=3?EnvVarSource
EnvVarSource: fieldRef=1?ObjectFieldSelector resourceFieldRef=2?ResourceFieldSelector
 configMapKeyRef=3?ConfigMapKeySelector secretKeyRef=4?SecretKeySelector
 fileKeyRef=5?FileKeySelector
EphemeralContainer: ephemeralContainerCommon=1EphemeralContainerCommon targetContainerName=2
EphemeralContainerCommon: name=1 image=2 command=3* args=4* workingDir=5 ports=6*ContainerPort
 env=7*EnvVar resources=8ResourceRequirements volumeMounts=9*VolumeMount livenessProbe=10?Probe
 readinessProbe=11?Probe lifecycle=12?Lifecycle terminationMessagePath=13 imagePullPolicy=14
 securityContext=15?SecurityContext stdin=16b stdinOnce=17b tty=18b envFrom=19*EnvFromSource
 terminationMessagePolicy=20 volumeDevices=21*VolumeDevice startupProbe=22?Probe
 resizePolicy=23*ContainerResizePolicy restartPolicy=24?
 restartPolicyRules=25*ContainerRestartRule
EphemeralVolumeSource: volumeClaimTemplate=1?PersistentVolumeClaimTemplate
Event: metadata=1ObjectMeta involvedObject=2ObjectReference reason=3 message=4 source=5EventSource
 firstTimestamp=6Time lastTimestamp=7Time count=8i type=9 eventTime=10MicroTime
 series=11?EventSeries action=12 related=13?ObjectReference reportingComponent=14
 reportingInstance=15
EventSeries: count=1i lastObservedTime=2MicroTime
EventSource: component=1 host=2
EventsEvent: metadata=1ObjectMeta eventTime=2MicroTime series=3?EventsEventSeries
 reportingController=4 reportingInstance=5 action=6 reason=7 regarding=8ObjectReference
 related=9?ObjectReference note=10 type=11 deprecatedSource=12EventSource
 deprecatedFirstTimestamp=13Time deprecatedLastTimestamp=14Time deprecatedCount=15i
EventsEventSeries: count=1i lastObservedTime=2MicroTime
Eviction: metadata=1ObjectMeta deleteOptions=2?DeleteOptions
ExecAction: command=1*
ExternalMetricSource: metric=1MetricIdentifier target=2MetricTarget
ExternalMetricStatus: metric=1MetricIdentifier current=2MetricValueStatus
FCVolumeSource: targetWWNs=1* lun=2?i fsType=3 readOnly=4b wwids=5*
FieldSelectorAttributes: rawSelector=1 requirements=2*FieldSelectorRequirement
FieldSelectorRequirement: key=1 operator=2 values=3*
FileKeySelector: volumeName=1 path=2 key=3 optional=4?b
FlexPersistentVolumeSource: driver=1 fsType=2 secretRef=3?SecretReference readOnly=4b options=5%
FlexVolumeSource: driver=1 fsType=2 secretRef=3?LocalObjectReference readOnly=4b options=5%
FlockerVolumeSource: datasetName=1 datasetUUID=2
ForNode: name=1
ForZone: name=1
GCEPersistentDiskVolumeSource: pdName=1 fsType=2 partition=3i readOnly=4b
GRPCAction: port=1i service=2?
GitRepoVolumeSource: repository=1 revision=2 directory=3
GlusterfsPersistentVolumeSource: endpoints=1 path=2 readOnly=3b endpointsNamespace=4?
GlusterfsVolumeSource: endpoints=1 path=2 readOnly=3b
HPAScalingPolicy: type=1 value=2i periodSeconds=3i
HPAScalingRules: selectPolicy=1? policies=2*HPAScalingPolicy stabilizationWindowSeconds=3?i
 tolerance=4?Quantity
HTTPGetAction: path=1 port=2IntOrString host=3 scheme=4 httpHeaders=5*HTTPHeader
HTTPHeader: name=1 value=2
HTTPIngressPath: path=1 backend=2IngressBackend pathType=3?
HTTPIngressRuleValue: paths=1*HTTPIngressPath
HorizontalPodAutoscaler: metadata=1ObjectMeta spec=2HorizontalPodAutoscalerSpec
 status=3HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerBehavior: scaleUp=1?HPAScalingRules scaleDown=2?HPAScalingRules
HorizontalPodAutoscalerV1: metadata=1ObjectMeta spec=2HorizontalPodAutoscalerV1Spec
 status=3HorizontalPodAutoscalerV1Status
HorizontalPodAutoscalerV1Spec: scaleTargetRef=1CrossVersionObjectReference minReplicas=2?i
 maxReplicas=3i targetCPUUtilizationPercentage=4?i
HorizontalPodAutoscalerV1Status: observedGeneration=1?i lastScaleTime=2?Time currentReplicas=3i
 desiredReplicas=4i currentCPUUtilizationPercentage=5?i
HorizontalPodAutoscalerCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
HorizontalPodAutoscalerSpec: scaleTargetRef=1CrossVersionObjectReference minReplicas=2?i
 maxReplicas=3i metrics=4*MetricSpec behavior=5?HorizontalPodAutoscalerBehavior
HorizontalPodAutoscalerStatus: observedGeneration=1?i lastScaleTime=2?Time currentReplicas=3i
 desiredReplicas=4i currentMetrics=5*MetricStatus conditions=6*HorizontalPodAutoscalerCondition
HostAlias: ip=1 hostnames=2*
HostIP: ip=1
HostPathVolumeSource: path=1 type=2?
IPBlock: cidr=1 except=2*
ISCSIPersistentVolumeSource: targetPortal=1 iqn=2 lun=3i iscsiInterface=4 fsType=5 readOnly=6b
 portals=7* chapAuthDiscovery=8b secretRef=10?SecretReference chapAuthSession=11b
 initiatorName=12?
ISCSIVolumeSource: targetPortal=1 iqn=2 lun=3i iscsiInterface=4 fsType=5 readOnly=6b portals=7*
 chapAuthDiscovery=8b secretRef=10?LocalObjectReference chapAuthSession=11b initiatorName=12?
ImageVolumeSource: reference=1 pullPolicy=2
Ingress: metadata=1ObjectMeta spec=2IngressSpec status=3IngressStatus
IngressBackend: resource=3?TypedLocalObjectReference service=4?IngressServiceBackend
IngressClass: metadata=1ObjectMeta spec=2IngressClassSpec
IngressClassParametersReference: apiGroup=1? kind=2 name=3 scope=4? namespace=5?
IngressClassSpec: controller=1 parameters=2?IngressClassParametersReference
IngressLoadBalancerIngress: ip=1 hostname=2 ports=4*IngressPortStatus
IngressLoadBalancerStatus: ingress=1*IngressLoadBalancerIngress
IngressPortStatus: port=1i protocol=2 error=3?
IngressRule: host=1 ingressRuleValue=2^IngressRuleValue
IngressRuleValue: http=1?HTTPIngressRuleValue
IngressServiceBackend: name=1 port=2ServiceBackendPort
IngressSpec: defaultBackend=1?IngressBackend tls=2*IngressTLS rules=3*IngressRule
 ingressClassName=4?
IngressStatus: loadBalancer=1IngressLoadBalancerStatus
IngressTLS: hosts=1* secretName=2
Job: metadata=1ObjectMeta spec=2JobSpec status=3JobStatus
JobCondition: type=1 status=2 lastProbeTime=3Time lastTransitionTime=4Time reason=5 message=6
JobSpec: parallelism=1?i completions=2?i activeDeadlineSeconds=3?i selector=4?LabelSelector
 manualSelector=5?b template=6PodTemplateSpec backoffLimit=7?i ttlSecondsAfterFinished=8?i
 completionMode=9? suspend=10?b podFailurePolicy=11?PodFailurePolicy backoffLimitPerIndex=12?i
 maxFailedIndexes=13?i podReplacementPolicy=14? managedBy=15? successPolicy=16?SuccessPolicy
JobStatus: conditions=1*JobCondition startTime=2?Time completionTime=3?Time active=4i succeeded=5i
 failed=6i completedIndexes=7 uncountedTerminatedPods=8?UncountedTerminatedPods ready=9?i
 failedIndexes=10? terminating=11?i
JobTemplateSpec: metadata=1ObjectMeta spec=2JobSpec
KeyToPath: key=1 path=2 mode=3?i
LabelSelector: matchLabels=1% matchExpressions=2*LabelSelectorRequirement
LabelSelectorAttributes: rawSelector=1 requirements=2*LabelSelectorRequirement
LabelSelectorRequirement: key=1 operator=2 values=3*
Lease: metadata=1ObjectMeta spec=2LeaseSpec
LeaseSpec: holderIdentity=1? leaseDurationSeconds=2?i acquireTime=3?MicroTime
 renewTime=4?MicroTime leaseTransitions=5?i strategy=6? preferredHolder=7?
Lifecycle: postStart=1?LifecycleHandler preStop=2?LifecycleHandler stopSignal=3?
LifecycleHandler: exec=1?ExecAction httpGet=2?HTTPGetAction tcpSocket=3?TCPSocketAction
 sleep=4?SleepAction
LimitRange: metadata=1ObjectMeta spec=2LimitRangeSpec
LimitRangeItem: type=1 max=2%Quantity min=3%Quantity default=4%Quantity defaultRequest=5%Quantity
 maxLimitRequestRatio=6%Quantity
LimitRangeSpec: limits=1*LimitRangeItem
LinuxContainerUser: uid=1i gid=2i supplementalGroups=3*i
ListMeta: selfLink=1 resourceVersion=2 continue=3 remainingItemCount=4?i
LoadBalancerIngress: ip=1 hostname=2 ipMode=3? ports=4*PortStatus
LoadBalancerStatus: ingress=1*LoadBalancerIngress
LocalObjectReference: name=1
LocalSubjectAccessReview: metadata=1ObjectMeta spec=2SubjectAccessReviewSpec
 status=3SubjectAccessReviewStatus
LocalVolumeSource: path=1 fsType=2?
ManagedFieldsEntry: manager=1 operation=2 apiVersion=3 time=4?Time fieldsType=6
 fieldsV1=7?FieldsV1 subresource=8
MatchCondition: name=1 expression=2
MetricIdentifier: name=1 selector=2?LabelSelector
MetricSpec: type=1 object=2?ObjectMetricSource pods=3?PodsMetricSource
 resource=4?ResourceMetricSource external=5?ExternalMetricSource
 containerResource=7?ContainerResourceMetricSource
MetricStatus: type=1 object=2?ObjectMetricStatus pods=3?PodsMetricStatus
 resource=4?ResourceMetricStatus external=5?ExternalMetricStatus
 containerResource=7?ContainerResourceMetricStatus
MetricTarget: type=1 value=2?Quantity averageValue=3?Quantity averageUtilization=4?i
MetricValueStatus: value=1?Quantity averageValue=2?Quantity averageUtilization=3?i
ModifyVolumeStatus: targetVolumeAttributesClassName=1 status=2
MutatingWebhook: name=1 clientConfig=2WebhookClientConfig rules=3*RuleWithOperations
 failurePolicy=4? namespaceSelector=5?LabelSelector sideEffects=6? timeoutSeconds=7?i
 admissionReviewVersions=8* matchPolicy=9? reinvocationPolicy=10? objectSelector=11?LabelSelector
 matchConditions=12*MatchCondition
MutatingWebhookConfiguration: metadata=1ObjectMeta webhooks=2*MutatingWebhook
NFSVolumeSource: server=1 path=2 readOnly=3b
Namespace: metadata=1ObjectMeta spec=2NamespaceSpec status=3NamespaceStatus
NamespaceCondition: type=1 status=2 lastTransitionTime=4Time reason=5 message=6
NamespaceSpec: finalizers=1*
NamespaceStatus: phase=1 conditions=2*NamespaceCondition
NetworkPolicy: metadata=1ObjectMeta spec=2NetworkPolicySpec
NetworkPolicyEgressRule: ports=1*NetworkPolicyPort to=2*NetworkPolicyPeer
NetworkPolicyIngressRule: ports=1*NetworkPolicyPort from=2*NetworkPolicyPeer
NetworkPolicyPeer: podSelector=1?LabelSelector namespaceSelector=2?LabelSelector ipBlock=3?IPBlock
NetworkPolicyPort: protocol=1? port=2?IntOrString endPort=3?i
NetworkPolicySpec: podSelector=1LabelSelector ingress=2*NetworkPolicyIngressRule
 egress=3*NetworkPolicyEgressRule policyTypes=4*
Node: metadata=1ObjectMeta spec=2NodeSpec status=3NodeStatus
NodeAddress: type=1 address=2
NodeAffinity: requiredDuringSchedulingIgnoredDuringExecution=1?NodeSelector
 preferredDuringSchedulingIgnoredDuringExecution=2*PreferredSchedulingTerm
NodeCondition: type=1 status=2 lastHeartbeatTime=3Time lastTransitionTime=4Time reason=5 message=6
NodeConfigSource: configMap=2?ConfigMapNodeConfigSource
NodeConfigStatus: assigned=1?NodeConfigSource active=2?NodeConfigSource
 lastKnownGood=3?NodeConfigSource error=4
NodeDaemonEndpoints: kubeletEndpoint=1DaemonEndpoint
NodeFeatures: supplementalGroupsPolicy=1?b
NodeRuntimeHandler: name=1 features=2?NodeRuntimeHandlerFeatures
NodeRuntimeHandlerFeatures: recursiveReadOnlyMounts=1?b userNamespaces=2?b
NodeSelector: nodeSelectorTerms=1*NodeSelectorTerm
NodeSelectorRequirement: key=1 operator=2 values=3*
NodeSelectorTerm: matchExpressions=1*NodeSelectorRequirement matchFields=2*NodeSelectorRequirement
NodeSpec: podCIDR=1 externalID=2 providerID=3 unschedulable=4b taints=5*Taint
 configSource=6?NodeConfigSource podCIDRs=7*
NodeStatus: capacity=1%Quantity allocatable=2%Quantity phase=3 conditions=4*NodeCondition
 addresses=5*NodeAddress daemonEndpoints=6NodeDaemonEndpoints nodeInfo=7NodeSystemInfo
 images=8*ContainerImage volumesInUse=9* volumesAttached=10*AttachedVolume
 config=11?NodeConfigStatus runtimeHandlers=12*NodeRuntimeHandler features=13?NodeFeatures
NodeSwapStatus: capacity=1?i
NodeSystemInfo: machineID=1 systemUUID=2 bootID=3 kernelVersion=4 osImage=5
 containerRuntimeVersion=6 kubeletVersion=7 kubeProxyVersion=8 operatingSystem=9 architecture=10
 swap=11?NodeSwapStatus
NonResourceAttributes: path=1 verb=2
NonResourceRule: verbs=1* nonResourceURLs=2*
ObjectFieldSelector: apiVersion=1 fieldPath=2
ObjectMeta: name=1 generateName=2 namespace=3 selfLink=4 uid=5 resourceVersion=6 generation=7i
 creationTimestamp=8Time deletionTimestamp=9?Time deletionGracePeriodSeconds=10?i labels=11%
 annotations=12% ownerReferences=13*OwnerReference finalizers=14*
 managedFields=17*ManagedFieldsEntry
ObjectMetricSource: describedObject=1CrossVersionObjectReference target=2MetricTarget
 metric=3MetricIdentifier
ObjectMetricStatus: metric=1MetricIdentifier current=2MetricValueStatus
 describedObject=3CrossVersionObjectReference
ObjectReference: kind=1 namespace=2 name=3 uid=4 apiVersion=5 resourceVersion=6 fieldPath=7
Overhead: podFixed=1%Quantity
OwnerReference: kind=1 name=3 uid=4 apiVersion=5 controller=6?b blockOwnerDeletion=7?b
PersistentVolume: metadata=1ObjectMeta spec=2PersistentVolumeSpec status=3PersistentVolumeStatus
PersistentVolumeClaim: metadata=1ObjectMeta spec=2PersistentVolumeClaimSpec
 status=3PersistentVolumeClaimStatus
PersistentVolumeClaimCondition: type=1 status=2 lastProbeTime=3Time lastTransitionTime=4Time
 reason=5 message=6
PersistentVolumeClaimSpec: accessModes=1* resources=2VolumeResourceRequirements volumeName=3
 selector=4?LabelSelector storageClassName=5? volumeMode=6? dataSource=7?TypedLocalObjectReference
 dataSourceRef=8?TypedObjectReference volumeAttributesClassName=9?
PersistentVolumeClaimStatus: phase=1 accessModes=2* capacity=3%Quantity
 conditions=4*PersistentVolumeClaimCondition allocatedResources=5%Quantity
 allocatedResourceStatuses=7% currentVolumeAttributesClassName=8?
 modifyVolumeStatus=9?ModifyVolumeStatus
PersistentVolumeClaimTemplate: metadata=1ObjectMeta spec=2PersistentVolumeClaimSpec
PersistentVolumeClaimVolumeSource: claimName=1 readOnly=2b
PersistentVolumeSource: gcePersistentDisk=1?GCEPersistentDiskVolumeSource
 awsElasticBlockStore=2?AWSElasticBlockStoreVolumeSource hostPath=3?HostPathVolumeSource
 glusterfs=4?GlusterfsPersistentVolumeSource nfs=5?NFSVolumeSource rbd=6?RBDPersistentVolumeSource
 iscsi=7?ISCSIPersistentVolumeSource cinder=8?CinderPersistentVolumeSource
 cephfs=9?CephFSPersistentVolumeSource fc=10?FCVolumeSource flocker=11?FlockerVolumeSource
 flexVolume=12?FlexPersistentVolumeSource azureFile=13?AzureFilePersistentVolumeSource
 vsphereVolume=14?VsphereVirtualDiskVolumeSource quobyte=15?QuobyteVolumeSource
 azureDisk=16?AzureDiskVolumeSource photonPersistentDisk=17?PhotonPersistentDiskVolumeSource
 portworxVolume=18?PortworxVolumeSource scaleIO=19?ScaleIOPersistentVolumeSource
 local=20?LocalVolumeSource storageos=21?StorageOSPersistentVolumeSource
 csi=22?CSIPersistentVolumeSource
PersistentVolumeSpec: capacity=1%Quantity persistentVolumeSource=2^PersistentVolumeSource
 accessModes=3* claimRef=4?ObjectReference persistentVolumeReclaimPolicy=5 storageClassName=6
 mountOptions=7* volumeMode=8? nodeAffinity=9?VolumeNodeAffinity volumeAttributesClassName=10?
PersistentVolumeStatus: phase=1 message=2 reason=3 lastPhaseTransitionTime=4?Time
PhotonPersistentDiskVolumeSource: pdID=1 fsType=2
Pod: metadata=1ObjectMeta spec=2PodSpec status=3PodStatus
PodAffinity: requiredDuringSchedulingIgnoredDuringExecution=1*PodAffinityTerm
 preferredDuringSchedulingIgnoredDuringExecution=2*WeightedPodAffinityTerm
PodAffinityTerm: labelSelector=1?LabelSelector namespaces=2* topologyKey=3
 namespaceSelector=4?LabelSelector matchLabelKeys=5* mismatchLabelKeys=6*
PodAntiAffinity: requiredDuringSchedulingIgnoredDuringExecution=1*PodAffinityTerm
 preferredDuringSchedulingIgnoredDuringExecution=2*WeightedPodAffinityTerm
PodCertificateProjection: signerName=1 keyType=2 maxExpirationSeconds=3?i credentialBundlePath=4
 keyPath=5 certificateChainPath=6
PodCondition: type=1 status=2 lastProbeTime=3Time lastTransitionTime=4Time reason=5 message=6
 observedGeneration=7i
PodDNSConfig: nameservers=1* searches=2* options=3*PodDNSConfigOption
PodDNSConfigOption: name=1 value=2?
PodDisruptionBudget: metadata=1ObjectMeta spec=2PodDisruptionBudgetSpec
 status=3PodDisruptionBudgetStatus
PodDisruptionBudgetSpec: minAvailable=1?IntOrString selector=2?LabelSelector
 maxUnavailable=3?IntOrString unhealthyPodEvictionPolicy=4?
PodDisruptionBudgetStatus: observedGeneration=1i disruptedPods=2%Time disruptionsAllowed=3i
 currentHealthy=4i desiredHealthy=5i expectedPods=6i conditions=7*Condition
PodExtendedResourceClaimStatus: requestMappings=1*ContainerExtendedResourceRequest
 resourceClaimName=2
PodFailurePolicy: rules=1*PodFailurePolicyRule
PodFailurePolicyOnExitCodesRequirement: containerName=1? operator=2 values=3*i
PodFailurePolicyOnPodConditionsPattern: type=1 status=2
PodFailurePolicyRule: action=1 onExitCodes=2?PodFailurePolicyOnExitCodesRequirement
 onPodConditions=3*PodFailurePolicyOnPodConditionsPattern
PodIP: ip=1
PodOS: name=1
PodReadinessGate: conditionType=1
PodResourceClaim: name=1 resourceClaimName=3? resourceClaimTemplateName=4?
PodResourceClaimStatus: name=1 resourceClaimName=2?
PodSchedulingGate: name=1
PodSecurityContext: seLinuxOptions=1?SELinuxOptions runAsUser=2?i runAsNonRoot=3?b
 supplementalGroups=4*i fsGroup=5?i runAsGroup=6?i sysctls=7*Sysctl
 windowsOptions=8?WindowsSecurityContextOptions fsGroupChangePolicy=9?
 seccompProfile=10?SeccompProfile appArmorProfile=11?AppArmorProfile supplementalGroupsPolicy=12?
 seLinuxChangePolicy=13?
PodSpec: volumes=1*Volume containers=2*Container restartPolicy=3 terminationGracePeriodSeconds=4?i
 activeDeadlineSeconds=5?i dnsPolicy=6 nodeSelector=7% serviceAccountName=8 serviceAccount=9
 nodeName=10 hostNetwork=11b hostPID=12b hostIPC=13b securityContext=14?PodSecurityContext
 imagePullSecrets=15*LocalObjectReference hostname=16 subdomain=17 affinity=18?Affinity
 schedulerName=19 initContainers=20*Container automountServiceAccountToken=21?b
 tolerations=22*Toleration hostAliases=23*HostAlias priorityClassName=24 priority=25?i
 dnsConfig=26?PodDNSConfig shareProcessNamespace=27?b readinessGates=28*PodReadinessGate
 runtimeClassName=29? enableServiceLinks=30?b preemptionPolicy=31? overhead=32%Quantity
 topologySpreadConstraints=33*TopologySpreadConstraint ephemeralContainers=34*EphemeralContainer
 setHostnameAsFQDN=35?b os=36?PodOS hostUsers=37?b schedulingGates=38*PodSchedulingGate
 resourceClaims=39*PodResourceClaim resources=40?ResourceRequirements hostnameOverride=41?
PodStatus: phase=1 conditions=2*PodCondition message=3 reason=4 hostIP=5 podIP=6 startTime=7?Time
 containerStatuses=8*ContainerStatus qosClass=9 initContainerStatuses=10*ContainerStatus
 nominatedNodeName=11 podIPs=12*PodIP ephemeralContainerStatuses=13*ContainerStatus resize=14
 resourceClaimStatuses=15*PodResourceClaimStatus hostIPs=16*HostIP observedGeneration=17i
 extendedResourceClaimStatus=18?PodExtendedResourceClaimStatus
PodTemplate: metadata=1ObjectMeta template=2PodTemplateSpec
PodTemplateSpec: metadata=1ObjectMeta spec=2PodSpec
PodsMetricSource: metric=1MetricIdentifier target=2MetricTarget
PodsMetricStatus: metric=1MetricIdentifier current=2MetricValueStatus
PolicyRule: verbs=1* apiGroups=2* resources=3* resourceNames=4* nonResourceURLs=5*
PortStatus: port=1i protocol=2 error=3?
PortworxVolumeSource: volumeID=1 fsType=2 readOnly=3b
Preconditions: uid=1? resourceVersion=2?
PreferredSchedulingTerm: weight=1i preference=2NodeSelectorTerm
PriorityClass: metadata=1ObjectMeta value=2i globalDefault=3b description=4 preemptionPolicy=5?
Probe: handler=1^ProbeHandler initialDelaySeconds=2i timeoutSeconds=3i periodSeconds=4i
 successThreshold=5i failureThreshold=6i terminationGracePeriodSeconds=7?i
ProbeHandler: exec=1?ExecAction httpGet=2?HTTPGetAction tcpSocket=3?TCPSocketAction
 grpc=4?GRPCAction
ProjectedVolumeSource: sources=1*VolumeProjection defaultMode=2?i
QuobyteVolumeSource: registry=1 volume=2 readOnly=3b user=4 group=5 tenant=6
RBDPersistentVolumeSource: monitors=1* image=2 fsType=3 pool=4 user=5 keyring=6
 secretRef=7?SecretReference readOnly=8b
RBDVolumeSource: monitors=1* image=2 fsType=3 pool=4 user=5 keyring=6
 secretRef=7?LocalObjectReference readOnly=8b
ReplicaSet: metadata=1ObjectMeta spec=2ReplicaSetSpec status=3ReplicaSetStatus
ReplicaSetCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
ReplicaSetSpec: replicas=1?i selector=2?LabelSelector template=3PodTemplateSpec minReadySeconds=4i
ReplicaSetStatus: replicas=1i fullyLabeledReplicas=2i observedGeneration=3i readyReplicas=4i
 availableReplicas=5i conditions=6*ReplicaSetCondition terminatingReplicas=7?i
ReplicationController: metadata=1ObjectMeta spec=2ReplicationControllerSpec
 status=3ReplicationControllerStatus
ReplicationControllerCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
ReplicationControllerSpec: replicas=1?i selector=2% template=3?PodTemplateSpec minReadySeconds=4i
ReplicationControllerStatus: replicas=1i fullyLabeledReplicas=2i observedGeneration=3i
 readyReplicas=4i availableReplicas=5i conditions=6*ReplicationControllerCondition
ResourceAttributes: namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7
 fieldSelector=8?FieldSelectorAttributes labelSelector=9?LabelSelectorAttributes
ResourceClaim: name=1 request=2
ResourceFieldSelector: containerName=1 resource=2 divisor=3Quantity
ResourceHealth: resourceID=1 health=2
ResourceMetricSource: name=1 target=2MetricTarget
ResourceMetricStatus: name=1 current=2MetricValueStatus
ResourceQuota: metadata=1ObjectMeta spec=2ResourceQuotaSpec status=3ResourceQuotaStatus
ResourceQuotaSpec: hard=1%Quantity scopes=2* scopeSelector=3?ScopeSelector
ResourceQuotaStatus: hard=1%Quantity used=2%Quantity
ResourceRequirements: limits=1%Quantity requests=2%Quantity claims=3*ResourceClaim
ResourceRule: verbs=1* apiGroups=2* resources=3* resourceNames=4*
ResourceStatus: name=1 resources=2*ResourceHealth
Role: metadata=1ObjectMeta rules=2*PolicyRule
RoleBinding: metadata=1ObjectMeta subjects=2*Subject roleRef=3RoleRef
RoleRef: apiGroup=1 kind=2 name=3
RollingUpdateDaemonSet: maxUnavailable=1?IntOrString maxSurge=2?IntOrString
RollingUpdateDeployment: maxUnavailable=1?IntOrString maxSurge=2?IntOrString
RollingUpdateStatefulSetStrategy: partition=1?i maxUnavailable=2?IntOrString
Rule: apiGroups=1* apiVersions=2* resources=3* scope=4?
RuleWithOperations: operations=1* rule=2^Rule
RuntimeClass: metadata=1ObjectMeta handler=2 overhead=3?Overhead scheduling=4?Scheduling
SELinuxOptions: user=1 role=2 type=3 level=4
Scale: metadata=1ObjectMeta spec=2ScaleSpec status=3ScaleStatus
ScaleIOPersistentVolumeSource: gateway=1 system=2 secretRef=3?SecretReference sslEnabled=4b
 protectionDomain=5 storagePool=6 storageMode=7 volumeName=8 fsType=9 readOnly=10b
ScaleIOVolumeSource: gateway=1 system=2 secretRef=3?LocalObjectReference sslEnabled=4b
 protectionDomain=5 storagePool=6 storageMode=7 volumeName=8 fsType=9 readOnly=10b
ScaleSpec: replicas=1i
ScaleStatus: replicas=1i selector=2
Scheduling: nodeSelector=1% tolerations=2*Toleration
ScopeSelector: matchExpressions=1*ScopedResourceSelectorRequirement
ScopedResourceSelectorRequirement: scopeName=1 operator=2 values=3*
SeccompProfile: type=1 localhostProfile=2?
Secret: metadata=1ObjectMeta data=2%y type=3 stringData=4% immutable=5?b
SecretEnvSource: localObjectReference=1^LocalObjectReference optional=2?b
SecretKeySelector: localObjectReference=1^LocalObjectReference key=2 optional=3?b
SecretProjection: localObjectReference=1^LocalObjectReference items=2*KeyToPath optional=4?b
SecretReference: name=1 namespace=2
SecretVolumeSource: secretName=1 items=2*KeyToPath defaultMode=3?i optional=4?b
SecurityContext: capabilities=1?Capabilities privileged=2?b seLinuxOptions=3?SELinuxOptions
 runAsUser=4?i runAsNonRoot=5?b readOnlyRootFilesystem=6?b allowPrivilegeEscalation=7?b
 runAsGroup=8?i procMount=9? windowsOptions=10?WindowsSecurityContextOptions
 seccompProfile=11?SeccompProfile appArmorProfile=12?AppArmorProfile
SelfSubjectAccessReview: metadata=1ObjectMeta spec=2SelfSubjectAccessReviewSpec
 status=3SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec: resourceAttributes=1?ResourceAttributes
 nonResourceAttributes=2?NonResourceAttributes
SelfSubjectReview: metadata=1ObjectMeta status=2SelfSubjectReviewStatus
SelfSubjectReviewStatus: userInfo=1UserInfo
SelfSubjectRulesReview: metadata=1ObjectMeta spec=2SelfSubjectRulesReviewSpec
 status=3SubjectRulesReviewStatus
SelfSubjectRulesReviewSpec: namespace=1
Service: metadata=1ObjectMeta spec=2ServiceSpec status=3ServiceStatus
ServiceAccount: metadata=1ObjectMeta secrets=2*ObjectReference
 imagePullSecrets=3*LocalObjectReference automountServiceAccountToken=4?b
ServiceAccountTokenProjection: audience=1 expirationSeconds=2?i path=3
ServiceBackendPort: name=1 number=2i
ServicePort: name=1 protocol=2 port=3i targetPort=4IntOrString nodePort=5i appProtocol=6?
ServiceReference: namespace=1 name=2 path=3? port=4?i
ServiceSpec: ports=1*ServicePort selector=2% clusterIP=3 type=4 externalIPs=5* sessionAffinity=7
 loadBalancerIP=8 loadBalancerSourceRanges=9* externalName=10 externalTrafficPolicy=11
 healthCheckNodePort=12i publishNotReadyAddresses=13b
 sessionAffinityConfig=14?SessionAffinityConfig ipFamilyPolicy=17? clusterIPs=18* ipFamilies=19*
 allocateLoadBalancerNodePorts=20?b loadBalancerClass=21? internalTrafficPolicy=22?
 trafficDistribution=23?
ServiceStatus: loadBalancer=1LoadBalancerStatus conditions=2*Condition
SessionAffinityConfig: clientIP=1?ClientIPConfig
SleepAction: seconds=1i
StatefulSet: metadata=1ObjectMeta spec=2StatefulSetSpec status=3StatefulSetStatus
StatefulSetCondition: type=1 status=2 lastTransitionTime=3Time reason=4 message=5
StatefulSetOrdinals: start=1i
StatefulSetPersistentVolumeClaimRetentionPolicy: whenDeleted=1 whenScaled=2
StatefulSetSpec: replicas=1?i selector=2?LabelSelector template=3PodTemplateSpec
 volumeClaimTemplates=4*PersistentVolumeClaim serviceName=5 podManagementPolicy=6
 updateStrategy=7StatefulSetUpdateStrategy revisionHistoryLimit=8?i minReadySeconds=9i
 persistentVolumeClaimRetentionPolicy=10?StatefulSetPersistentVolumeClaimRetentionPolicy
 ordinals=11?StatefulSetOrdinals
StatefulSetStatus: observedGeneration=1i replicas=2i readyReplicas=3i currentReplicas=4i
 updatedReplicas=5i currentRevision=6 updateRevision=7 collisionCount=9?i
 conditions=10*StatefulSetCondition availableReplicas=11i
StatefulSetUpdateStrategy: type=1 rollingUpdate=2?RollingUpdateStatefulSetStrategy
Status: metadata=1ListMeta status=2 message=3 reason=4 details=5?StatusDetails code=6i
StatusCause: reason=1 message=2 field=3
StatusDetails: name=1 group=2 kind=3 causes=4*StatusCause retryAfterSeconds=5i uid=6
StorageClass: metadata=1ObjectMeta provisioner=2 parameters=3% reclaimPolicy=4? mountOptions=5*
 allowVolumeExpansion=6?b volumeBindingMode=7? allowedTopologies=8*TopologySelectorTerm
StorageOSPersistentVolumeSource: volumeName=1 volumeNamespace=2 fsType=3 readOnly=4b
 secretRef=5?ObjectReference
StorageOSVolumeSource: volumeName=1 volumeNamespace=2 fsType=3 readOnly=4b
 secretRef=5?LocalObjectReference
StorageTokenRequest: audience=1 expirationSeconds=2?i
Subject: kind=1 apiGroup=2 name=3 namespace=4
SubjectAccessReview: metadata=1ObjectMeta spec=2SubjectAccessReviewSpec
 status=3SubjectAccessReviewStatus
SubjectAccessReviewSpec: resourceAttributes=1?ResourceAttributes
 nonResourceAttributes=2?NonResourceAttributes user=3 groups=4* extra=5%ExtraValue uid=6
SubjectAccessReviewStatus: allowed=1b reason=2 evaluationError=3 denied=4b
SubjectRulesReviewStatus: resourceRules=1*ResourceRule nonResourceRules=2*NonResourceRule
 incomplete=3b evaluationError=4
SuccessPolicy: rules=1*SuccessPolicyRule
SuccessPolicyRule: succeededIndexes=1? succeededCount=2?i
Sysctl: name=1 value=2
TCPSocketAction: port=1IntOrString host=2
Taint: key=1 value=2 effect=3 timeAdded=4?Time
TokenRequestSpec: audiences=1* boundObjectRef=3?BoundObjectReference expirationSeconds=4?i
TokenRequestStatus: token=1 expirationTimestamp=2Time
TokenReview: metadata=1ObjectMeta spec=2TokenReviewSpec status=3TokenReviewStatus
TokenReviewSpec: token=1 audiences=2*
TokenReviewStatus: authenticated=1b user=2UserInfo error=3 audiences=4*
Toleration: key=1 operator=2 value=3 effect=4 tolerationSeconds=5?i
TopologySelectorLabelRequirement: key=1 values=2*
TopologySelectorTerm: matchLabelExpressions=1*TopologySelectorLabelRequirement
TopologySpreadConstraint: maxSkew=1i topologyKey=2 whenUnsatisfiable=3
 labelSelector=4?LabelSelector minDomains=5?i nodeAffinityPolicy=6? nodeTaintsPolicy=7?
 matchLabelKeys=8*
TypedLocalObjectReference: apiGroup=1? kind=2 name=3
TypedObjectReference: apiGroup=1? kind=2 name=3 namespace=4?
UncountedTerminatedPods: succeeded=1* failed=2*
UserInfo: username=1 uid=2 groups=3* extra=4%ExtraValue
ValidatingWebhook: name=1 clientConfig=2WebhookClientConfig rules=3*RuleWithOperations
 failurePolicy=4? namespaceSelector=5?LabelSelector sideEffects=6? timeoutSeconds=7?i
 admissionReviewVersions=8* matchPolicy=9? objectSelector=10?LabelSelector
 matchConditions=11*MatchCondition
ValidatingWebhookConfiguration: metadata=1ObjectMeta webhooks=2*ValidatingWebhook
Volume: name=1 volumeSource=2^VolumeSource
VolumeDevice: name=1 devicePath=2
VolumeMount: name=1 readOnly=2b mountPath=3 subPath=4 mountPropagation=5? subPathExpr=6
 recursiveReadOnly=7?
VolumeMountStatus: name=1 mountPath=2 readOnly=3b recursiveReadOnly=4?
VolumeNodeAffinity: required=1?NodeSelector
VolumeNodeResources: count=1?i
VolumeProjection: secret=1?SecretProjection downwardAPI=2?DownwardAPIProjection
 configMap=3?ConfigMapProjection serviceAccountToken=4?ServiceAccountTokenProjection
 clusterTrustBundle=5?ClusterTrustBundleProjection podCertificate=6?PodCertificateProjection
VolumeResourceRequirements: limits=1%Quantity requests=2%Quantity
VolumeSource: hostPath=1?HostPathVolumeSource emptyDir=2?EmptyDirVolumeSource
 gcePersistentDisk=3?GCEPersistentDiskVolumeSource
 awsElasticBlockStore=4?AWSElasticBlockStoreVolumeSource gitRepo=5?GitRepoVolumeSource
 secret=6?SecretVolumeSource nfs=7?NFSVolumeSource iscsi=8?ISCSIVolumeSource
 glusterfs=9?GlusterfsVolumeSource persistentVolumeClaim=10?PersistentVolumeClaimVolumeSource
 rbd=11?RBDVolumeSource flexVolume=12?FlexVolumeSource cinder=13?CinderVolumeSource
 cephfs=14?CephFSVolumeSource flocker=15?FlockerVolumeSource
 downwardAPI=16?DownwardAPIVolumeSource fc=17?FCVolumeSource azureFile=18?AzureFileVolumeSource
 configMap=19?ConfigMapVolumeSource vsphereVolume=20?VsphereVirtualDiskVolumeSource
 quobyte=21?QuobyteVolumeSource azureDisk=22?AzureDiskVolumeSource
 photonPersistentDisk=23?PhotonPersistentDiskVolumeSource portworxVolume=24?PortworxVolumeSource
 scaleIO=25?ScaleIOVolumeSource projected=26?ProjectedVolumeSource
 storageos=27?StorageOSVolumeSource csi=28?CSIVolumeSource ephemeral=29?EphemeralVolumeSource
 image=30?ImageVolumeSource
VsphereVirtualDiskVolumeSource: volumePath=1 fsType=2 storagePolicyName=3 storagePolicyID=4
WebhookClientConfig: service=1?ServiceReference caBundle=2y url=3?
WeightedPodAffinityTerm: weight=1i podAffinityTerm=2PodAffinityTerm
WindowsSecurityContextOptions: gmsaCredentialSpecName=1? gmsaCredentialSpec=2? runAsUserName=3?
 hostProcess=4?b
"""
