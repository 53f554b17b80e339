/** Who a request comes from. */
export interface Identity {
  readonly name: string;
  readonly uid: string;
  readonly groups: readonly string[];
}

/** May do everything, as in Kubernetes. */
export const mastersGroup = 'system:masters';
export const authenticatedGroup = 'system:authenticated';

export const anonymous: Identity = {
  name: 'system:anonymous',
  uid: '',
  groups: ['system:unauthenticated'],
};

/** A bearer token and whom it stands for. */
export interface TokenIdentity {
  readonly token: string;
  readonly user: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
}
