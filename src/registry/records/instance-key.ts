/** Identity is a matter of the API; re-exported for those who read and write records. */
export { instanceId, instanceName, standaloneProject } from '../../api/v1alpha1/names.ts';
export type { InstanceKey } from '../../api/v1alpha1/names.ts';
