export * from './byte-size.ts';
export * from './conditions.ts';
export * from './container-spec.ts';
export * from './cpu-quantity.ts';
export * from './duration.ts';
export * from './field-error.ts';
export * from './group.ts';
export * from './host.ts';
export * from './invalid-value.ts';
export * from './link-string.ts';
export * from './meta.ts';
export * from './names.ts';
export * from './parse.ts';
export * from './port-string.ts';
export * from './project.ts';
export * from './resolve.ts';
export * from './service.ts';
export {
  placement,
  placementStrategy,
  pullPolicy,
  resources,
  restartPolicy,
  serviceSpec,
  type ServiceSpec,
  type ServiceSpecInput,
} from './service-spec.ts';
export * from './validation.ts';
export * from './volume-string.ts';
